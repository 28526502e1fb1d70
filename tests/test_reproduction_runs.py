import pytest
from finished_runs import ROWS

from dcls.errors import UserError
from reproduction.rows import find_rows
from reproduction.runs import check_overrides, plan_runs


def test_a_run_is_told_apart_by_its_seed_alone(tmp_path) -> None:
    first, second = plan_runs(find_rows(ROWS[:1]), [0, 1], tmp_path)
    assert first.folder != second.folder
    differing = set(first.arguments()) ^ set(second.arguments())
    assert {argument.partition("=")[0] for argument in differing} == {"training.seed", "checkpoint.name"}


@pytest.mark.parametrize("key", ["training.seed", "checkpoint.dir", "checkpoint.name", "checkpoint.resume"])
def test_what_tells_runs_apart_is_not_set_for_all(key) -> None:
    check_overrides(["schedule.epochs=1", "logging.wandb=online"])
    with pytest.raises(UserError, match=f"--set: every run sets its own {key}; use --seeds and --runs instead"):
        check_overrides(["schedule.epochs=1", f"{key}=1"])
