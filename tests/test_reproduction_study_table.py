import pytest

from reproduction.studies import all_studies
from reproduction.study_runs import read_runs
from reproduction.study_table import compare, study_table

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
    found = compare(all_studies()["reach"], "reach", read_runs(results), "uniform", "dense")
    assert found.differences == [72.0, 75.0, 71.5]
    assert found.p_value == pytest.approx(2 / 2**3), "by flips of signs, because a run learns the task or does not"


def test_the_table_says_what_is_measured_and_what_is_not(results) -> None:
    text = study_table("reach", results)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "98.0 ± 1.0" in lines["Gaussian, uniform start"] and "0, 1, 2" in lines["Gaussian, uniform start"]
    assert "30.0" in lines["Gaussian, normal start"] and "+5.00" in lines["Gaussian, normal start"]
    assert "dense, two blocks" not in lines and "Not measured yet: dense, two blocks, 7x7 / 49; dense, 23x23" in text
    assert "1,000 held-out images" in text and "Power" not in text


def test_power_is_told_over_the_dense_and_the_dcls_row_and_a_changed_recipe_is(tmp_path) -> None:
    lines = ["row,seed,changed_keys,epoch,val_top1,train_images_per_second"]
    accuracies = {"dense": (77.0, 78.5, 76.2), "gaussian": (77.1, 78.0, 76.3), "triangle": (77.0, 78.1, 76.9)}
    for name, values in accuracies.items():
        changed = "schedule.epochs" if name == "triangle" else ""
        lines += [f"embedded_{name},{seed},{changed},0.0,{top1},100" for seed, top1 in enumerate(values)]
    lines += [line.replace("triangle", "bilinear") for line in lines if "triangle" in line]
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    (folder / "studies-runs.csv").write_text("\n".join(lines) + "\n")
    text = study_table("interpolations", tmp_path)
    assert "the differences from the dense row" in text and "the differences from the Gaussian row" in text
    assert text.count("pooled over 2 comparisons") == 2, "equal rows count once"
    assert text.count("0, 1, 2 (with another schedule.epochs)") == 2


def test_nothing_is_claimed_of_a_study_without_runs(tmp_path) -> None:
    text = study_table("spreads", tmp_path)
    assert text.startswith(
        "Not measured yet: 4,000 images of Fashion-MNIST (`configs/studies/embedded.yaml`), Fashion-"
    )
