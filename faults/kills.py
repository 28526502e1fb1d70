"""Processes that are killed: at random moments, at every point of writing, and by signals that can be answered."""

import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.campaign import Tally
from faults.tiny import REPOSITORY, difference, start_forked, train_forked, wait_for, write_config

_ENOUGH = 60


def straight_run(folder: Path, *options: str) -> Path:
    """Train without disturbance."""
    name = "straight" + "".join(options).replace("=", "")
    config = write_config(folder)
    status, printed = train_forked(["--config", str(config), f"checkpoint.name={name}", *options])
    assert status == 0, printed
    return folder / "runs" / name


def random_kills(folder: Path, kills: int, *, workers: int = 0) -> Tally:
    """Kill runs at random moments, continue them until they end, and compare."""
    tally = Tally(f"SIGKILL at random moments, 1 process, {workers} workers")
    straight, config = straight_run(folder), write_config(folder, workers=workers)
    generator, run = random.Random(0), 0
    lost: list[int] = []
    while tally.tried < kills:
        run += 1
        name, run_kills = f"killed{workers}-{run}", 0
        for _ in range(_ENOUGH):
            process = start_forked(
                ["--config", str(config), f"checkpoint.name={name}"], os.open(os.devnull, os.O_WRONLY)
            )
            status = _kill_after(process, generator.uniform(0.05, 1.5))
            if status is not None:
                break
            run_kills += 1
            lost.append(_updates_lost(folder / "runs" / name))
        problem = difference(folder / "runs" / name, straight)
        _count_kills(tally, run, run_kills, problem)
    if lost:
        tally.notes.append(
            f"work lost per kill, saved every 2 updates: {statistics.median(lost):.0f} updates in the median, at most "
            f"{max(lost)}"
        )
    return tally


def _count_kills(tally: Tally, run: int, kills: int, problem: str | None) -> None:
    """Count every kill of a run as a trial; a run that ended before its first one counts only if it ended wrong."""
    for _ in range(max(kills, problem is not None)):
        tally.count(problem and f"run {run}, after {kills} kills: {problem}")


def _updates_lost(run: Path) -> int:
    """Count the updates that a killed run has reported, but not saved."""
    lines = run / "metrics.jsonl"
    reported = re.findall(r'"update": (\d+)', lines.read_text()) if lines.exists() else []
    saved = [path.stem for path in (run / "saves").glob("*.pt")]
    return max(0, max(map(int, reported), default=0) - max(map(int, saved), default=0))


def _kill_after(process: int, seconds: float) -> int | None:
    """Kill a process; returns its exit status if it has ended before."""
    if wait_for(lambda: os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None, seconds):
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def kills_of_real_processes(folder: Path, kills: int) -> Tally:
    """Kill runs of two processes with workers under torchrun: the launcher, or one of the processes."""
    tally = Tally("SIGKILL at random moments, 2 processes under torchrun, 1 worker each")
    config = write_config(folder, workers=1)
    began = time.monotonic()
    assert start_two(config, "straight2").wait() == 0
    whole = time.monotonic() - began  # kills are at any moment of a run, however fast the machine is
    generator, run = random.Random(1), 0
    while tally.tried < kills:
        run += 1
        name, run_kills = f"killed2-{run}", 0
        for _ in range(_ENOUGH):
            process = start_two(config, name)
            try:
                process.wait(generator.uniform(0.3, 1) * whole)
                break
            except subprocess.TimeoutExpired:
                children = _children(process.pid)
                victim = generator.choice([process.pid, *children[:2]])
                os.kill(victim, signal.SIGKILL)
                process.wait()
                for child in children:
                    if not _ends(child, 60):
                        tally.count(f"run {run}: a process outlives its launcher")
                run_kills += 1
        problem = difference(folder / "runs" / name, folder / "runs" / "straight2")
        _count_kills(tally, run, run_kills, problem)
    return tally


def start_two(config: Path, name: str, *options: str, errors: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start a run in two processes under torchrun; what it says on stderr goes to ``errors``."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("train.py", "--config", str(config), f"checkpoint.name={name}", *options),
    ]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
    )  # fmt: skip


def lost_ranks(folder: Path, trials: int) -> Tally:
    """Stop one of two processes, as a node does that hangs: the other names it and ends the run; then continue it."""
    tally = Tally("one of 2 processes hangs, then continued")
    options = ["schedule.epochs=40", f"training.timeout_minutes={_PATIENCE / 60}"]
    config = write_config(folder)
    assert start_two(config, "straight-lost", *options).wait() == 0
    generator = random.Random(6)
    times: list[float] = []
    while tally.tried < trials:
        run = folder / "runs" / f"lost{tally.tried}"
        process = start_two(config, run.name, *options, errors=subprocess.PIPE)
        begun = wait_for(lambda run=run: '"update": 4,' in _read(run / "metrics.jsonl"), 300)  # type: ignore[misc]
        rank = generator.randrange(2)
        os.kill(_rank(process.pid, rank), signal.SIGSTOP)
        stopped = time.monotonic()
        said = process.communicate()[1].decode()
        times.append(time.monotonic() - stopped)
        problem = None if begun else "it does not begin"
        if process.returncode == 0 or f"process {rank} of 2 has not answered since" not in said:
            problem = f"process {rank} hangs: exit status {process.returncode}: {said[-300:]}"
        if problem is None:
            status = start_two(config, run.name, *options).wait()
            problem = difference(run, folder / "runs" / "straight-lost") if status == 0 else f"exit status {status}"
        tally.count(problem)
    tally.notes.append(
        f"until all was ended, with {_PATIENCE:g} s of patience (training.timeout_minutes) and 30 s of torchrun's: "
        f"{statistics.median(times):.0f} s in the median, at most {max(times):.0f} s"
    )
    return tally


_PATIENCE = 15.0


def _rank(launcher: int, rank: int) -> int:
    """Find the process of a rank under a torchrun."""
    for child in _children(launcher):
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return child
    raise ProcessLookupError(f"no process of rank {rank}")


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def _ends(process: int, seconds: float) -> bool:
    return wait_for(lambda: not Path(f"/proc/{process}").exists(), seconds)


def kills_while_writing(folder: Path, most: int | None = None) -> Tally:
    """End a run at every operation on files that it makes, one after the other, and continue it."""
    tally = Tally("process ended at every file operation of a run")
    straight, config = straight_run(folder), write_config(folder)
    operation = 0
    while most is None or operation < most:
        name = f"operation{operation}"
        arguments = ["--config", str(config), f"checkpoint.name={name}"]
        status, printed = train_forked(arguments, partial(at_file_operation, operation, lambda: os._exit(_ENDED)))
        if status == 0:
            break
        if status != _ENDED:
            tally.count(f"operation {operation}: exit status {status}: {printed[-300:]}")
        else:
            status, printed = train_forked(arguments)
            problem = difference(folder / "runs" / name, straight) if status == 0 else printed[-300:]
            tally.count(problem and f"operation {operation}: {problem}")
        operation += 1
    return tally


_ENDED = 99


def at_file_operation(operation: int, act: Callable[[], object]) -> None:
    """Do something in place of this process's so many-th operation on files, and of those after it."""
    made = 0

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal made
            made += 1
            if made > operation:
                act()
            return original(*arguments, **options)

        return call

    for name in ("replace", "rename", "link", "unlink", "fsync", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def signals(folder: Path, trials: int) -> Tally:
    """Stop runs by signals at random moments, and continue them."""
    tally = Tally("SIGTERM, SIGINT, SIGHUP, SIGUSR1, then continued")
    straight, config = straight_run(folder), write_config(folder)
    generator = random.Random(2)
    times: list[float] = []
    for trial in range(trials):
        number = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)[trial % 4]
        arguments = ["--config", str(config), f"checkpoint.name=signal{trial}"]
        reading, writing = os.pipe()
        process = start_forked(arguments, writing)
        os.close(writing)
        time.sleep(generator.uniform(0.1, 2.0))
        os.kill(process, number)
        sent = time.monotonic()
        with os.fdopen(reading) as pipe:
            printed = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        times.append(time.monotonic() - sent)
        if status not in (0, 128 + number, -number):
            tally.count(f"{number.name}: exit status {status}: {printed[-300:]}")
            continue
        again, said = train_forked(arguments)
        problem = difference(folder / "runs" / f"signal{trial}", straight) if again == 0 else said[-300:]
        tally.count(problem and f"{number.name}: {problem}")
    tally.notes.append(f"time to leave: {statistics.median(times):.1f} s in the median, at most {max(times):.1f} s")
    return tally
