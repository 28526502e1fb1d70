import pytest

from dcls.errors import UserError
from reproduction.results import RowScore, read_scores

CSV = """row,runs,top1_mean,top1_deviation,pairs,over_baseline_mean,over_baseline_deviation
dense,3,60.125,0.5,0,,
ours,1,61.0,,1,1.25,
twice,2,61.0,0.5,2,1.5,0.25
missing,0,,,0,,
"""


def test_scores_of_rows_that_were_trained_are_read(tmp_path) -> None:
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune" / "finetune.csv").write_text(CSV)
    scores = read_scores("finetune", tmp_path)
    assert scores == {
        "dense": RowScore(3, 60.125, 0.5),
        "ours": RowScore(1, 61.0, None, None, 1),
        "twice": RowScore(2, 61.0, 0.5, 0.25, 2),
    }
    assert [str(score) for score in scores.values()][:2] == ["60.12 ± 0.50", "61.00"]


@pytest.mark.parametrize("content", ["row,runs\ndense,1\n", "row,runs\ndense,many\n", "row\ndense\n"])
def test_results_that_are_damaged_are_named(tmp_path, content) -> None:
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune" / "finetune.csv").write_text(content)
    with pytest.raises(UserError, match="finetune.csv is damaged: .*; collect its runs again"):
        read_scores("finetune", tmp_path)


def test_a_table_without_results_has_no_scores(tmp_path) -> None:
    assert read_scores("finetune", tmp_path) == {}
