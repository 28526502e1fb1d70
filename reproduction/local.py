"""Runs on this machine, one after the other or a few side by side."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import torch
from filelock import FileLock, Timeout

from dcls.errors import UserError
from reproduction.row import REPOSITORY
from reproduction.runs import RowRun
from training.processes.parent_death import end_with_parent

LOG = "log.txt"


def processes_of_a_run(launcher: str, given: int | None) -> int:
    """Return 1, or as many as torchrun is to start: by default one for each GPU.

    Raises:
        UserError: it cannot be known.
    """
    if launcher == "local":
        if given not in (None, 1):
            raise UserError("several processes need --launcher torchrun", key="--processes")
        return 1
    processes = given or torch.cuda.device_count()
    if not processes:
        raise UserError("there is no GPU here", "add --processes N, the number of processes of a run", key="--launcher")
    return processes


def command(run: RowRun, processes: int, overrides: Sequence[str]) -> list[str]:
    """Return the command that trains a run, under torchrun where it has several processes."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*start, "train.py", *run.arguments(overrides)]


def train_all(runs: Sequence[RowRun], at_once: int, processes: int, overrides: Sequence[str]) -> None:
    """Train ``at_once`` runs at a time, each with its share of the cores and, where there are several, GPUs of its own.

    Raises:
        UserError: there are too few GPUs, or runs failed; the others were trained all the same.
    """
    shares = [share_of_machine(place, at_once, processes, _visible_gpus()) for place in range(at_once)]
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(at_once):
        places.put(place)

    def train(run: RowRun) -> bool:
        place = places.get()
        try:
            return _train(run, command(run, processes, overrides), os.environ | shares[place])
        finally:
            places.put(place)

    with ThreadPoolExecutor(at_once) as pool:
        succeeded = list(pool.map(train, runs))
    failed = [str(run.folder / LOG) for run, success in zip(runs, succeeded, strict=True) if not success]
    if failed:
        raise UserError(f"failed: {', '.join(failed)}", "the same command continues them")


def _train(run: RowRun, arguments: list[str], environment: dict[str, str]) -> bool:
    """Train one run unless another launch does, its output in a file; says when it begins and ends."""
    run.folder.mkdir(parents=True, exist_ok=True)
    log, begin = run.folder / LOG, time.perf_counter()
    try:
        with FileLock(run.folder / "launch.lock", timeout=0), log.open("a") as file:
            _say(run, f"begins, {log}")
            code = subprocess.run(
                arguments, cwd=REPOSITORY, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False,
                preexec_fn=partial(end_with_parent, signal.SIGTERM, os.getpid()),  # the run saves itself, and ends
            ).returncode  # fmt: skip
    except Timeout:
        _say(run, "is being trained by another launch")
        return True
    minutes = (time.perf_counter() - begin) / 60
    if code:
        last_line = (log.read_text().strip().splitlines() or [""])[-1]
        _say(run, f"failed after {minutes:.1f} minutes: {last_line}")
    else:
        _say(run, f"done in {minutes:.1f} minutes")
    return code == 0


def _say(run: RowRun, text: str) -> None:
    """Print a line in one piece: others print, too."""
    sys.stdout.write(f"{run.row.table}/{run.name}: {text}\n")
    sys.stdout.flush()


def _visible_gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def share_of_machine(place: int, at_once: int, processes: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return a run's share of this machine, as environment variables.

    Raises:
        UserError: runs of several processes would have to share GPUs.
    """
    if at_once == 1:
        return {}
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // (at_once * processes)))}
    if len(gpus) > 1:
        if processes > 1 and at_once * processes > len(gpus):
            raise UserError(
                f"{at_once} runs of {processes} processes need {at_once * processes} GPUs, here are {len(gpus)}",
                "give fewer --processes",
                key="--at-once",
            )
        first = place * processes % len(gpus)
        share["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[first : first + processes])
    return share
