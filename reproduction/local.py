"""Runs on this machine, one after the other or a few side by side."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch

from reproduction.rows import REPOSITORY
from reproduction.runs import Run
from training.errors import UserError

LOG = "log.txt"


def processes_of_a_run(launcher: str, given: int | None) -> int:
    """One alone, or as many as torchrun is to start: by default one for each GPU.

    Raises:
        UserError: it cannot be known.
    """
    if launcher == "local":
        if given not in (None, 1):
            raise UserError("--processes: several processes need --launcher torchrun")
        return 1
    processes = given or torch.cuda.device_count()
    if not processes:
        raise UserError("--processes: there is no GPU here; say how many processes torchrun is to start")
    return processes


def command(run: Run, processes: int, overrides: Sequence[str]) -> list[str]:
    """The command that trains a run, under torchrun where it has several processes."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*start, "train.py", *run.arguments(overrides)]


def train_all(runs: Sequence[Run], at_once: int, processes: int, overrides: Sequence[str]) -> None:
    """Train ``at_once`` runs at a time, each with its share of the cores and, if there are several, a GPU of its own.

    Raises:
        UserError: runs failed; the others were trained all the same.
    """
    places: SimpleQueue[int] = SimpleQueue()
    for place in range(at_once):
        places.put(place)

    def train(run: Run) -> bool:
        place = places.get()
        try:
            return _train(run, command(run, processes, overrides), _environment(place, at_once))
        finally:
            places.put(place)

    with ThreadPoolExecutor(at_once) as pool:
        succeeded = list(pool.map(train, runs))
    failed = [str(run.folder / LOG) for run, success in zip(runs, succeeded, strict=True) if not success]
    if failed:
        raise UserError("failed: " + ", ".join(failed) + "; the same command continues them")


def _train(run: Run, arguments: list[str], environment: dict[str, str]) -> bool:
    """Train one run, its output in a file; says when it begins and ends."""
    run.folder.mkdir(parents=True, exist_ok=True)
    log, begin = run.folder / LOG, time.perf_counter()
    _say(run, f"begins, {log}")
    with log.open("a") as file:
        code = subprocess.run(
            arguments, cwd=REPOSITORY, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    minutes = (time.perf_counter() - begin) / 60
    if code:
        last_line = (log.read_text().strip().splitlines() or [""])[-1]
        _say(run, f"failed after {minutes:.1f} minutes: {last_line}")
    else:
        _say(run, f"done in {minutes:.1f} minutes")
    return code == 0


def _say(run: Run, text: str) -> None:
    """Print a line in one piece: others print, too."""
    sys.stdout.write(f"{run.row.table}/{run.name}: {text}\n")
    sys.stdout.flush()


def _environment(place: int, at_once: int) -> dict[str, str]:
    if at_once == 1:
        return dict(os.environ)
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))}
    if torch.cuda.device_count() > 1:
        share["CUDA_VISIBLE_DEVICES"] = str(place % torch.cuda.device_count())
    return os.environ | share
