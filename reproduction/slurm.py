"""Runs as one SLURM job array, through scripts/train.sbatch."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dcls.errors import UserError
from reproduction.cluster import Cluster
from reproduction.row import REPOSITORY
from reproduction.runs import RowRun

SCRIPT = Path("scripts/train.sbatch")
JOB = "slurm_job"  # in a run's folder: the id of the job that trains it


def submit(runs: Sequence[RowRun], cluster: Cluster, overrides: Sequence[str], folder: Path, *, dry_run: bool) -> None:
    """Queue the runs that are not queued already.

    Args:
        folder: For the array's list of runs and what the jobs print.
        dry_run: Print the command and the list in place of that.

    Raises:
        UserError: there is no SLURM, or it refuses the job.
    """
    if not dry_run:
        runs = not_queued(runs)
    if not runs:
        return
    folder = folder.resolve() / "slurm"
    tasks = folder / f"{datetime.now():%Y%m%d-%H%M%S}.txt"
    lines = [shlex.join(run.arguments(overrides)) for run in runs]
    command = sbatch_command(cluster, len(runs), tasks)
    environment = {"PYTHON": sys.executable, "PROCESSES_PER_NODE": str(cluster.processes_per_node)}
    if dry_run:
        print(*(f"{key}={value}" for key, value in environment.items()), shlex.join(command))
        print(f"with {tasks}:", *lines, sep="\n")
        return
    folder.mkdir(parents=True, exist_ok=True)
    tasks.write_text("\n".join(lines) + "\n")
    job = _run([*command[:1], "--parsable", *command[1:]], environment).strip().split(";")[0]
    for index, run in enumerate(runs):
        remember_job(run, f"{job}_{index}")


def sbatch_command(cluster: Cluster, num_runs: int, tasks: Path) -> list[str]:
    """Return the command that queues the array."""
    given = {"nodes": cluster.nodes, "array": f"0-{num_runs - 1}", "output": str(tasks.parent / "%A_%a.log")}
    options = [f"--{key}={value}" for key, value in {**given, **cluster.sbatch}.items()]
    return ["sbatch", *options, str(SCRIPT), f"@{tasks}"]


def remember_job(run: RowRun, job: str) -> None:
    """Note in the run's folder which job trains it."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / JOB).write_text(job + "\n")
    print(f"{run.row.table}/{run.name}: job {job}")


def not_queued(runs: Sequence[RowRun]) -> list[RowRun]:
    """Return the runs whose job is neither waiting nor running, and print the state of the others.

    Raises:
        UserError: there is no SLURM.
    """
    lines = _run(["squeue", "--noheader", "--array", "--me", "--format=%i %T"], {}).splitlines()
    states = dict(line.split(maxsplit=1) for line in lines)
    free = []
    for run in runs:
        file = run.folder / JOB
        job = file.read_text().strip() if file.is_file() else None
        if job in states:
            print(f"{run.row.table}/{run.name}: job {job}, {states[job].lower()}")
        else:
            free.append(run)
    return free


def _run(command: list[str], environment: dict[str, str]) -> str:
    try:
        result = subprocess.run(
            command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not there", "is this a machine of a SLURM cluster?") from None
    if result.returncode:
        raise UserError(f"{command[0]}: {result.stderr.strip()}")
    return result.stdout
