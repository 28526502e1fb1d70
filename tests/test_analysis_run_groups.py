from report_runs import DENSE, report_run

from analysis.run_data import RunData, read_runs
from analysis.run_groups import group_runs


def test_runs_that_differ_in_their_seed_only_are_one_group(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(3)]
    folders += [report_run(tmp_path, "dense", model=DENSE)]
    folders += [report_run(tmp_path, "longer", overrides=["schedule.epochs=4"])]
    folders += [report_run(tmp_path, "elsewhere", seed=4, overrides=["checkpoint.dir=x", "logging.log_interval=1"])]
    groups = group_runs(read_runs(folders))
    assert [[run.name for run in group.runs] for group in groups] == [
        ["dcls-seed0", "dcls-seed1", "dcls-seed2", "elsewhere"],
        ["dense"],
        ["longer"],
    ]
    assert [group.name for group in group_runs(read_runs(folders[:4]))] == ["dcls (3 runs)", "dense"]


def test_groups_with_one_name_are_told_apart(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(2)]
    longer = ["schedule.epochs=4"]
    folders += [report_run(tmp_path, f"dcls-seed{seed}", seed=seed, overrides=longer) for seed in (2, 3, 4)]
    names = [group.name for group in group_runs(read_runs(folders))]
    assert names == ["dcls (2 runs)", "dcls (3 runs)"]
    names = [group.name for group in group_runs(read_runs(folders[:-1]))]
    assert names == ["dcls-seed0 and 1 more", "dcls-seed2 and 1 more"]


def test_seeds_of_different_machines_are_one_group(tmp_path) -> None:
    settings = {
        "training": {"device": "cuda", "timeout_minutes": 30}, "data": {"num_workers": 8, "dir": "/fast/imagenet"},
        "logging": {"wandb": "online"}, "checkpoint": {"dir": "/scratch"},
    }  # fmt: skip
    here = RunData(tmp_path / "a", "a", config={"training": {"seed": 0}, "data": {"dir": "data/imagenet"}})
    there = RunData(tmp_path / "b", "b", config={**settings, "training": {**settings["training"], "seed": 1}})
    assert len(group_runs([here, there])) == 1
    for section, key, value in (
        ("data", "dir", "data/flowers"),
        ("data", "val_split", "v2"),
        ("training", "compile", True),
    ):
        other = RunData(tmp_path / "c", "c", config={**there.config, section: {**there.config[section], key: value}})
        assert len(group_runs([there, other])) == 2


def test_a_run_without_a_configuration_is_alone(tmp_path) -> None:
    assert len(group_runs([RunData(tmp_path / "a", "a"), RunData(tmp_path / "b", "b")])) == 2


def test_a_curve_is_over_the_runs_that_have_reached_an_epoch(tmp_path) -> None:
    config = {"training": {"seed": 0}}
    runs = [
        RunData(tmp_path / "a", "a", [{"epoch": 0, "x": 1.0}, {"epoch": 1, "x": 3.0}], config),
        RunData(tmp_path / "b", "b", [{"epoch": 0, "x": 2.0}, {"epoch": 1}], config),
    ]
    (group,) = group_runs(runs)
    curve = group.curve("x")
    assert (curve.epochs, curve.means, curve.lowest, curve.highest) == ([1, 2], [1.5, 3.0], [1.0, 3.0], [2.0, 3.0])
    assert group.columns == {"epoch", "x"} and group.curve("y").epochs == []
