"""scripts/reproduce.py: rows, launches on this machine, and the table made of finished runs."""

import csv
import shlex
from pathlib import Path

import pytest
from finished_runs import ROWS
from processes import run_script, table_rows

from reproduction.rows import all_rows
from reproduction.studies import all_studies


@pytest.fixture
def tiny_overrides(image_folder: Path) -> list[str]:
    """Train a small row in seconds, on three classes of blobs."""
    return [
        "data.dataset=''", f"data.dir={image_folder}", "data.num_workers=0", "data.image_size=32", "training.device=cpu",
        "training.batch_size=12", "schedule.warmup_epochs=0", "model.options.dims=[8, 8, 8, 8]",
        "model.options.depths=[1, 1, 1, 1]",
    ]  # fmt: skip


def test_list_shows_every_row_with_its_published_number() -> None:
    output, _, studies = run_script("scripts/reproduce.py", "list").stdout.partition("\n\n")
    assert [row[0] for row in table_rows(studies)] == list(all_studies())
    lines = {row[0]: row[3:] for row in table_rows(output)}
    assert len(lines) == len(all_rows()) == 17 + 5
    assert lines["imagenet/convnext_tiny_dcls_gaussian"] == [
        "28,586,536", "300", "82.6", "arXiv:2306.00817; size and count are those of the released file"
    ]  # fmt: skip
    assert lines["imagenet/convformer_s18_dcls_gaussian"][2:] == ["n/a", "n/a"]


def test_a_launch_trains_what_is_not_finished_and_collect_makes_the_table(tiny_overrides, tmp_path) -> None:
    runs = tmp_path / "runs"
    launch = ["launch", *ROWS, "--seeds", "0", "1", "--runs", runs, "--at-once", "2", "--set", *tiny_overrides]
    dry = run_script("scripts/reproduce.py", *launch, "--dry-run")
    assert dry.stdout.count("train.py --config=configs/studies/fashion.yaml") == 4 and not runs.exists()
    commands = [shlex.split(line) for line in dry.stdout.splitlines()]
    assert all("model.options.dims=[8, 8, 8, 8]" in command for command in commands), "as a shell would read them"

    first = run_script("scripts/reproduce.py", *launch, "schedule.epochs=1")
    assert first.returncode == 0, first.stdout + first.stderr
    unfinished = runs / "studies" / "fashion_gaussian-seed1"
    (unfinished / "model.safetensors").unlink()  # as if the run had been cut off after its first epoch
    second = run_script("scripts/reproduce.py", *launch, "schedule.epochs=2")
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count(": finished, in ") == 3 and second.stdout.count("done in") == 1
    assert "continuing with epoch 1" in (unfinished / "log.txt").read_text()

    out = tmp_path / "results" / "studies" / "runs"  # as the folder of the runs is called
    result = run_script(
        "scripts/reproduce.py", "collect", runs, "--rows", "comparison/fashion_*", "--out", tmp_path / "results"
    )
    assert result.returncode == 0, result.stderr
    seeds = [row[3].partition(" (with another")[0] for row in table_rows(result.stdout)]
    assert seeds == ["0, 1", "0, 1"]  # bilinear and triangle are missing
    lines = list(csv.DictReader((out / "studies-runs.csv").open()))
    assert len(lines) == 3 * 1 + 2 and {line["row"] for line in lines} == {row.partition("/")[2] for row in ROWS}
    assert (out / "studies.csv").exists() and (out / "comparison.png").stat().st_size > 10_000


def test_a_failed_run_is_named_and_does_not_stop_the_others(tiny_overrides, tmp_path) -> None:
    blocked = tmp_path / "studies" / "fashion_dense-seed0"
    blocked.mkdir(parents=True)
    (blocked / "last.pt").write_text("not a checkpoint")
    result = run_script(
        "scripts/reproduce.py", "launch", *ROWS, "--runs", tmp_path, "--set", *tiny_overrides, "schedule.epochs=1"
    )
    assert result.returncode == 1
    assert "fashion_dense-seed0: failed after" in result.stdout and "last.pt" in result.stdout
    assert "fashion_gaussian-seed0: done in" in result.stdout
    assert result.stderr.startswith("error: failed: ") and "the same command continues them" in result.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seeds", "-1"], "argument --seeds: must not be negative"),
        (
            ["--set", "training.seed=7"],
            "error: --set: every run sets its own training.seed; use --seeds and --runs instead",
        ),
    ],
)
def test_a_launch_whose_runs_would_be_one_or_none_is_refused(tmp_path, arguments, message) -> None:
    result = run_script("scripts/reproduce.py", "launch", *ROWS, "--runs", tmp_path / "runs", *arguments)
    assert result.returncode and result.stderr.strip().endswith(message) and not (tmp_path / "runs").exists()
