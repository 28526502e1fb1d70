import pytest
from scipy.stats import ttest_rel

from dcls.errors import UserError
from reproduction.study_table import compare, read_runs, study_table

DENSE, UNIFORM = [25.0, 24.0, 26.5], [97.0, 99.0, 98.0]


@pytest.fixture
def results(tmp_path):
    """Three seeds of two rows of the study of reach, one of a third, each with two epochs."""
    rows = [("reach_dense", DENSE), ("reach_uniform", UNIFORM), ("reach_normal", [30.0])]
    collected(tmp_path / "studies" / "one", rows[:1])
    collected(tmp_path / "studies" / "other", rows[1:])
    return tmp_path


def collected(folder, rows) -> None:
    lines = ["row,seed,epoch,val_top1,train_images_per_second"]
    for row, values in rows:
        for seed, top1 in enumerate(values):
            lines += [f"{row},{seed},0.0,{top1 + 1},90", f"{row},{seed},1.0,{top1},{100 + seed}"]
    folder.mkdir(parents=True)
    (folder / "studies-runs.csv").write_text("\n".join(lines) + "\n")


def test_the_last_epochs_are_compared_by_seeds(results) -> None:
    found = compare(read_runs(results), "reach_uniform", "reach_dense")
    assert found.differences == [72.0, 75.0, 71.5]
    assert found.p_value == pytest.approx(ttest_rel(UNIFORM, DENSE).pvalue)


def test_the_table_says_what_is_measured_and_what_is_not(results) -> None:
    text = study_table("reach", results)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "98.0 ± 1.0" in lines["Gaussian, uniform start"] and "0, 1, 2" in lines["Gaussian, uniform start"]
    assert "30.0" in lines["Gaussian, normal start"] and "+5.00" in lines["Gaussian, normal start"]
    assert "not measured yet" in lines["dense, two blocks"]
    assert "(pooled over 1 comparisons). With 3 seeds" in text


def test_no_run_counts_twice(results) -> None:
    collected(results / "studies" / "mine", [("reach_dense", [80.0])])
    with pytest.raises(UserError, match=r"reach_dense with seed 0 is in both \S+mine and \S+one; remove one of them"):
        study_table("reach", results)


def test_nothing_is_claimed_of_a_study_without_runs(tmp_path) -> None:
    text = study_table("spreads", tmp_path)
    assert text.startswith(
        "Not measured yet: 4,000 images of Fashion-MNIST (`configs/studies/embedded.yaml`), Fashion-"
    )
