import pytest

from dcls.errors import UserError
from reproduction.study_runs import read_collection, read_runs

HEADER = "row,seed,changed_keys,epoch,val_top1,ema_top1,train_images_per_second"


def collected(folder, *lines: str):
    folder.mkdir(parents=True)
    file = folder / "studies-runs.csv"
    file.write_text("\n".join([HEADER, *lines]) + "\n")
    return file


def test_a_run_has_its_epochs_and_counts_after_the_last(tmp_path) -> None:
    file = collected(
        tmp_path / "one",
        "a,0,,0.0,50.0,,100",
        "a,0,,1.0,60.0,,300",
        "a,1,schedule.epochs optimizer.lr,0.0,70.0,71.0,50",
    )
    runs = read_collection(file)["a"]
    assert (runs[0].top1, runs[0].images_per_second, runs[0].changed_keys) == (60.0, 200.0, [])
    assert (runs[1].top1, runs[1].changed_keys) == (71.0, ["schedule.epochs", "optimizer.lr"]), "averaged weights count"


def test_all_folders_are_read_and_no_run_counts_twice(tmp_path) -> None:
    collected(tmp_path / "studies" / "mine", "a,0,,0.0,50.0,,100")
    collected(tmp_path / "studies" / "yours", "a,1,,0.0,60.0,,100", "b,0,,0.0,70.0,,100")
    assert {row: sorted(runs) for row, runs in read_runs(tmp_path).items()} == {"a": [0, 1], "b": [0]}
    collected(tmp_path / "studies" / "others", "a,1,,0.0,61.0,,100")
    with pytest.raises(UserError, match=r"a with seed 1 is in both \S+others and \S+yours; remove one of them"):
        read_runs(tmp_path)


@pytest.mark.parametrize(
    "line, problem",
    [
        ("a,0,,0.0", "KeyError"),
        ("a,x,,0.0,50.0,,100", "invalid literal"),
        ("a,0,,0.0,nan,,100", "a number of a is not finite"),
        ("", "holds no run; collect its runs again, or remove its folder"),
    ],
)
def test_a_damaged_collection_is_named(tmp_path, line, problem) -> None:
    file = collected(tmp_path / "one", line)
    with pytest.raises(UserError, match=f"{file} (is damaged|holds no run).*") as raised:
        read_collection(file)
    assert problem in str(raised.value)


def test_without_results_there_are_no_runs(tmp_path) -> None:
    assert read_runs(tmp_path) == {}
