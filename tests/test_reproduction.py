"""scripts/reproduce.py: rows, launches on this machine, and the table made of finished runs."""

import csv
import json
import statistics
from pathlib import Path

import pytest
from filelock import FileLock
from processes import run_script, table_rows
from scipy.stats import ttest_rel

from dcls.errors import UserError
from reproduction.cluster import load_cluster
from reproduction.collect import Table, collect
from reproduction.local import share_of_machine, train_all
from reproduction.plot import plot_table
from reproduction.rows import all_rows, find_rows
from reproduction.runs import RowRun, plan_runs
from training.config_file import dump_config, load_config

ROWS = ["small/fashion_convnext_dense", "small/fashion_convnext_gaussian"]


@pytest.fixture
def tiny_overrides(image_folder: Path) -> list[str]:
    """Train a small row in seconds, on three classes of blobs."""
    return [
        "data.dataset=''", f"data.dir={image_folder}", "data.num_workers=0", "data.image_size=32", "training.device=cpu",
        "training.batch_size=12", "schedule.warmup_epochs=0", "model.options.dims=[8, 8, 8, 8]",
        "model.options.depths=[1, 1, 1, 1]",
    ]  # fmt: skip


def test_list_shows_every_row_with_its_published_number() -> None:
    output = run_script("scripts/reproduce.py", "list").stdout
    lines = {row[0]: row[3:] for row in table_rows(output)}
    assert len(lines) == len(all_rows()) == 17 + 16
    assert lines["imagenet/convnext_tiny_dcls_gaussian"] == [
        "28,586,536", "300", "82.6", "arXiv:2306.00817; size and count are those of the released file"
    ]  # fmt: skip
    assert lines["imagenet/convformer_s18_dcls_gaussian"][2:] == ["n/a", "n/a"]


def test_rows_are_found_by_name_and_pattern() -> None:
    assert [row.full_name for row in find_rows(["convnext_tiny"])] == ["imagenet/convnext_tiny"]
    assert len(find_rows(["small/*", "small/cifar10_*"])) == 16
    with pytest.raises(UserError, match="no row 'convnext_tinny'; did you mean convnext_tiny"):
        find_rows(["convnext_tinny"])


def test_a_launch_trains_what_is_not_finished_and_collect_makes_the_table(tiny_overrides, tmp_path) -> None:
    runs = tmp_path / "runs"
    launch = ["launch", *ROWS, "--seeds", "0", "1", "--runs", runs, "--at-once", "2", "--set", *tiny_overrides]
    dry = run_script("scripts/reproduce.py", *launch, "--dry-run")
    assert dry.stdout.count("train.py --config=configs/small/") == 4 and not runs.exists()

    first = run_script("scripts/reproduce.py", *launch, "schedule.epochs=1")
    assert first.returncode == 0, first.stdout + first.stderr
    unfinished = runs / "small" / "fashion_convnext_gaussian-seed1"
    (unfinished / "model.safetensors").unlink()  # as if the run had been cut off after its first epoch
    second = run_script("scripts/reproduce.py", *launch, "schedule.epochs=2")
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count(": finished, in ") == 3 and second.stdout.count("done in") == 1
    assert "continuing with epoch 1" in (unfinished / "log.txt").read_text()

    result = run_script("scripts/reproduce.py", "collect", runs, "--rows", "small/fashion_convnext*", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    seeds = [row[3].partition(" (with another data.image_size, model.options")[0] for row in table_rows(result.stdout)]
    assert (seeds.count("0, 1"), seeds.count("missing")) == (2, 2)  # bilinear and triangle are missing
    lines = list(csv.DictReader((tmp_path / "small-runs.csv").open()))
    assert len(lines) == 3 * 1 + 2 and {line["row"] for line in lines} == {row.partition("/")[2] for row in ROWS}
    assert (tmp_path / "small.csv").exists() and (tmp_path / "small-top1.png").stat().st_size > 10_000


def test_a_failed_run_is_named_and_does_not_stop_the_others(tiny_overrides, tmp_path) -> None:
    blocked = tmp_path / "small" / "fashion_convnext_dense-seed0"
    blocked.mkdir(parents=True)
    (blocked / "last.pt").write_text("not a checkpoint")
    result = run_script(
        "scripts/reproduce.py", "launch", *ROWS, "--runs", tmp_path, "--set", *tiny_overrides, "schedule.epochs=1"
    )
    assert result.returncode == 1
    assert "fashion_convnext_dense-seed0: failed after" in result.stdout and "last.pt" in result.stdout
    assert "fashion_convnext_gaussian-seed0: done in" in result.stdout
    assert result.stderr.startswith("error: failed: ") and "the same command continues them" in result.stderr


def finished_run(root: Path, row: str, seed: int, top1: float, ema: float | None = None, overrides: list = ()) -> None:
    (found,) = find_rows([row])
    folder = RowRun(found, seed, root).folder
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    columns = {"epoch": 1, "train_loss": 1.5, "train_images_per_second": 100 + seed, "val_top1": top1, "val_top5": 99.0}
    if ema is not None:
        columns |= {"ema_top1": ema, "ema_top5": 98.0}
    better = columns | {"epoch": 0, "val_top1": top1 + 5}  # the last epoch counts, not the best
    with (folder / "metrics.csv").open("w") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows([better, columns])
    facts = {
        "model": {"parameters": 123_456, "multiply_adds": 7_000_000}, "commit": "c0ffee", "python": "3.12", "cores": 2,
        "gpu": None, "processor": "some", "date": "2026-01-01", "packages": {"torch": "2.14", "timm": "1.0"},
    }  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(facts))
    (folder / "config.yaml").write_text(dump_config(load_config(found.config_file, overrides)))


def one_table(root: Path, *rows: str) -> Table:
    (table,) = collect(root, find_rows(rows))
    return table


def test_means_deviations_and_the_paired_test(tmp_path) -> None:
    dense, ours = [60.0, 61.0, 63.0], [61.0, 62.5, 63.5]
    for seed in range(3):
        finished_run(tmp_path, ROWS[0], seed, dense[seed])
        finished_run(tmp_path, ROWS[1], seed, ours[seed])
    table = one_table(tmp_path, *ROWS)
    line = table.cells()[1]
    assert line["top-1"] == f"{statistics.mean(ours):.2f} ± {statistics.stdev(ours):.2f}"
    assert (line["parameters"], line["multiply-adds"], line["images/s"]) == ("123,456", "0.007 G", "101")
    comparison = table.comparison(table.rows[1])
    assert comparison.differences == [1.0, 1.5, 0.5]
    assert comparison.p_value == pytest.approx(ttest_rel(ours, dense).pvalue)
    assert line["top-1 over baseline"].startswith("+1.00 ± 0.50, p = 0.074")
    assert table.cells()[0]["top-1 over baseline"] == "-"
    assert "torch 2.14, timm 1.0, Python 3.12, 2 cores of some" in table.markdown()


def test_seeds_are_paired_and_settings_pooled(tmp_path) -> None:
    for seed in range(2):
        for setting in ("fashion_convnext", "cifar10_convnext"):
            finished_run(tmp_path, f"{setting}_dense", seed, 60.0)
    finished_run(tmp_path, "fashion_convnext_gaussian", 1, 61.0)
    finished_run(tmp_path, "fashion_convnext_gaussian", 5, 80.0)  # without a partner
    finished_run(tmp_path, "cifar10_convnext_gaussian", 0, 63.0)
    table = one_table(tmp_path, "small/*")
    assert table.comparisons_by_variant()["gaussian"].differences == [3.0, 1.0]
    finished_run(tmp_path, "cifar10_convnext_gaussian", 1, 60.0)
    pooled = one_table(tmp_path, "small/*").comparisons_by_variant()["gaussian"]
    assert pooled.differences == [1.5, 1.0], "one of each setting"


def test_numbers_for_programs(tmp_path) -> None:
    for seed in range(2):
        finished_run(tmp_path, ROWS[0], seed, 60.0)
        finished_run(tmp_path, ROWS[1], seed, 61.0)
    dense, ours = csv.DictReader(one_table(tmp_path, *ROWS).csv().splitlines())
    assert (dense["top1_mean"], dense["top1_deviation"], dense["pairs"]) == ("60.0", "0.0", "0")
    assert (ours["over_baseline_mean"], ours["over_baseline_deviation"]) == ("1.0", "0.0")
    assert ours["p_value"] == "", "equal differences cannot be tested"


def test_another_recipe_than_the_rows_is_told(tmp_path) -> None:
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    finished_run(tmp_path, ROWS[0], 1, 60.0, overrides=["schedule.epochs=7", "optimizer.lr=1", "training.device=cpu"])
    seeds = one_table(tmp_path, *ROWS).cells()[0]["seeds"]
    assert seeds == "0, 1 (with another optimizer.lr, schedule.epochs)"


def test_averaged_weights_count_where_a_run_has_them_and_published_numbers_stand_beside(tmp_path) -> None:
    finished_run(tmp_path, "imagenet/convnext_tiny_dcls_gaussian", 0, 70.0, ema=82.0)
    table = one_table(tmp_path, "imagenet/convnext_tiny", "imagenet/convnext_tiny_dcls_gaussian")
    missing, ours = table.cells()
    assert (missing["seeds"], missing["top-1"], missing["published top-1"]) == ("missing", "-", "82.1")
    assert (ours["top-1"], ours["top-5"], ours["published top-1"]) == ("82.00", "98.00", "82.6")
    assert len(plot_table(table, tmp_path)) == 2


def test_unfinished_and_damaged_runs(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no run of these rows"):
        collect(tmp_path, find_rows(ROWS))
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    finished_run(tmp_path, ROWS[0], 1, 60.0)
    (tmp_path / "small" / "fashion_convnext_dense-seed1" / "model.safetensors").unlink()
    assert one_table(tmp_path, *ROWS).cells()[0]["seeds"] == "0 (1 not finished)"
    (tmp_path / "small" / "fashion_convnext_dense-seed0" / "metrics.csv").write_text("epoch\n")
    with pytest.raises(UserError, match="fashion_convnext_dense-seed0 cannot be collected"):
        collect(tmp_path, find_rows(ROWS))


def test_a_run_is_told_apart_by_its_seed_alone(tmp_path) -> None:
    first, second = plan_runs(find_rows(ROWS[:1]), [0, 1], tmp_path)
    assert first.folder != second.folder
    differing = set(first.arguments()) ^ set(second.arguments())
    assert {argument.partition("=")[0] for argument in differing} == {"training.seed", "checkpoint.name"}


@pytest.mark.parametrize(
    "content, message",
    [
        ("nodes: 0", "nodes: Input should be greater"),
        ("node: 1", "node: Extra"),
        ("- 1", "must hold keys"),
        ("{", "cannot"),
    ],
)
def test_a_wrong_cluster_file_is_named(tmp_path, content, message) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        load_cluster(file)


def test_runs_side_by_side_get_gpus_of_their_own() -> None:
    gpus = [str(index) for index in range(4, 12)]
    assert [share_of_machine(place, 2, 4, gpus)["CUDA_VISIBLE_DEVICES"] for place in range(2)] == [
        "4,5,6,7",
        "8,9,10,11",
    ]
    assert [share_of_machine(place, 3, 1, gpus[:2])["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["4", "5", "4"]
    assert share_of_machine(0, 1, 8, gpus) == {} and "CUDA_VISIBLE_DEVICES" not in share_of_machine(0, 2, 1, ["4"])
    with pytest.raises(UserError, match="2 runs of 8 processes need 16 GPUs, here are 8"):
        share_of_machine(0, 2, 8, gpus)


def test_a_run_that_another_launch_trains_is_left_alone(tmp_path, capsys) -> None:
    (run,) = plan_runs(find_rows(ROWS[:1]), [3, 3], tmp_path)
    run.folder.mkdir(parents=True)
    with FileLock(run.folder / "launch.lock"):
        train_all([run], at_once=1, processes=1, overrides=[])
    assert "is being trained by another launch" in capsys.readouterr().out
    assert [file.name for file in run.folder.iterdir()] == ["launch.lock"]
