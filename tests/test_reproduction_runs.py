from finished_runs import ROWS

from reproduction.rows import find_rows
from reproduction.runs import plan_runs


def test_a_run_is_told_apart_by_its_seed_alone(tmp_path) -> None:
    first, second = plan_runs(find_rows(ROWS[:1]), [0, 1], tmp_path)
    assert first.folder != second.folder
    differing = set(first.arguments()) ^ set(second.arguments())
    assert {argument.partition("=")[0] for argument in differing} == {"training.seed", "checkpoint.name"}
