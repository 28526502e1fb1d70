import pytest

from dcls.errors import UserError
from training.cli import cli_errors


def test_a_mistake_that_the_first_process_does_not_see_is_told_by_another(monkeypatch, capsys) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("training.cli._MAIN_PROCESS_SECONDS", 0.0)
    with pytest.raises(SystemExit), cli_errors():
        raise UserError("only here", on_every_rank=True)
    assert capsys.readouterr().err == "error: only here\n"
