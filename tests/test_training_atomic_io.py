import pytest

from dcls.errors import UserError
from training.atomic_io import write_atomic, write_text_atomic


def test_a_file_is_replaced_as_a_whole(tmp_path) -> None:
    path = tmp_path / "file.txt"
    for text in ("first, and longer", "größer"):
        write_text_atomic(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
@pytest.mark.parametrize("before", ["kept", None])
def test_a_failure_leaves_what_was_there(tmp_path, error, before) -> None:
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(UserError, match=r"cannot write .*file.txt: .*Is the disk full") as told:
        write_atomic(path, fail)
    assert ("the one written before is kept" in str(told.value)) == (before is not None)
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])
