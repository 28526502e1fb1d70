"""Runs as one SLURM job array, through submitit: the same as ``reproduction.slurm``, for those who work with it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit

from dcls.errors import UserError
from reproduction.cluster import Cluster
from reproduction.row import REPOSITORY
from reproduction.runs import RowRun
from reproduction.slurm import not_queued, remember_job

NODE_SCRIPT = "scripts/node.sh"
SIGNAL_SECONDS = 120  # before the time is up
MOST_REQUEUES = 1000
# srun does not take this from sbatch by itself.
TASK_CPUS = 'if [[ -n "${SLURM_CPUS_PER_TASK:-}" ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi'


@dataclass(frozen=True)
class TrainingJob:
    """What each node of a job does: its part of torchrun.

    Attributes:
        arguments: For train.py.
        processes_per_node: Training processes on a node.
    """

    arguments: tuple[str, ...]
    processes_per_node: int

    def __call__(self) -> None:
        """Train until the run is finished.

        Raises:
            CalledProcessError: the training failed.
        """
        environment = os.environ | {"PYTHON": sys.executable, "PROCESSES_PER_NODE": str(self.processes_per_node)}
        subprocess.run(["bash", NODE_SCRIPT, *self.arguments], cwd=REPOSITORY, env=environment, check=True)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Return what to do when the time was up: the same again, which continues the run."""
        return submitit.helpers.DelayedSubmission(self)


def submit(runs: Sequence[RowRun], cluster: Cluster, overrides: Sequence[str], folder: Path, *, dry_run: bool) -> None:
    """Queue the runs that are not queued already.

    Args:
        folder: For submitit's own files and what the jobs print.
        dry_run: Print what would be queued.

    Raises:
        UserError: there is no SLURM, or it refuses the job.
    """
    if not dry_run:
        runs = not_queued(runs)
    jobs = [TrainingJob(tuple(run.arguments(overrides)), cluster.processes_per_node) for run in runs]
    if dry_run:
        print(f"submitit, {cluster.nodes} nodes of {cluster.processes_per_node} processes, {cluster.sbatch}")
        print(*(" ".join(("train.py", *job.arguments)) for job in jobs), sep="\n")
        return
    if not jobs:
        return
    try:
        executor = submitit.SlurmExecutor(folder=folder.resolve() / "submitit", max_num_timeout=MOST_REQUEUES)
        executor.update_parameters(
            nodes=cluster.nodes,
            ntasks_per_node=1,
            job_name="dcls",
            signal_delay_s=SIGNAL_SECONDS,
            additional_parameters={"requeue": True, **cluster.sbatch},
            stderr_to_stdout=True,
            setup=[TASK_CPUS],
        )
        with executor.batch():
            submitted = [executor.submit(job) for job in jobs]
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"submitit: {error}") from None
    for run, job in zip(runs, submitted, strict=True):
        remember_job(run, job.job_id)
