"""Job arrays for a SLURM that is not there: what is asked of it. A real one is in test_slurm.py."""

import os
import shlex
import stat
import sys
from pathlib import Path

import pytest
from finished_runs import ROWS

from dcls.errors import UserError
from reproduction.cluster import Cluster
from reproduction.rows import find_rows
from reproduction.runs import plan_runs
from reproduction.slurm import JOB, not_queued, sbatch_command, submit

CLUSTER = Cluster(nodes=2, processes_per_node=4, sbatch={"time": "1:00:00"})


@pytest.fixture
def runs(tmp_path) -> list:
    return plan_runs(find_rows(ROWS[:1]), [0, 1], tmp_path / "runs")


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A folder of commands of that name before all others, which write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    command(folder, "squeue", "true")
    command(folder, "sbatch", f'echo "$PROCESSES_PER_NODE $@" > {folder / "called"}; echo 42')
    return folder


def command(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_an_array_has_a_task_for_each_run() -> None:
    assert sbatch_command(CLUSTER, 3, Path("/tasks/list.txt")) == [
        "sbatch", "--nodes=2", "--array=0-2", "--output=/tasks/%A_%a.log", "--time=1:00:00", "scripts/train.sbatch",
        "@/tasks/list.txt",
    ]  # fmt: skip


def test_runs_are_queued_with_their_arguments_and_remembered(runs, slurm, tmp_path, capsys) -> None:
    submit(runs, CLUSTER, ["optimizer.lr=1e-3"], tmp_path, dry_run=False)
    called = shlex.split((slurm / "called").read_text())
    assert called[:2] == ["4", "--parsable"] and "--array=0-1" in called
    tasks = Path(called[-1].removeprefix("@")).read_text().splitlines()
    assert [shlex.split(line) for line in tasks] == [run.arguments(["optimizer.lr=1e-3"]) for run in runs]
    assert [(run.folder / JOB).read_text().strip() for run in runs] == ["42_0", "42_1"]
    command(slurm, "squeue", "echo '42_1 RUNNING'")
    assert not_queued(runs) == runs[:1]
    assert f"{runs[1].name}: job 42_1, running" in capsys.readouterr().out


def test_a_dry_run_prints_and_leaves_nothing(runs, tmp_path, capsys) -> None:
    submit(runs, CLUSTER, [], tmp_path, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"PYTHON={sys.executable} PROCESSES_PER_NODE=4 sbatch --nodes=2")
    assert lines[2:] == [shlex.join(run.arguments()) for run in runs]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_unwilling_slurm_is_told(runs, slurm, tmp_path, monkeypatch) -> None:
    command(slurm, "sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    with pytest.raises(UserError, match="sbatch: .*invalid partition"):
        submit(runs, CLUSTER, [], tmp_path, dry_run=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="squeue is not there; is this a machine of a SLURM cluster"):
        not_queued(runs)
