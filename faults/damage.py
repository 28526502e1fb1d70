"""Files of a run that are damaged: flipped bits, truncations, garbage in the tables, disks that refuse."""

import errno
import os
import random
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from faults.campaign import Tally
from faults.kills import at_file_operation, straight_run
from faults.tiny import difference, start_forked, train_forked, write_config
from training.metrics import MetricsLogger
from training.run_lock import FILE as LOCK


def flipped_bits(folder: Path, trials: int) -> Tally:
    """Flip one bit of a stopped run's newest checkpoint, continue, and compare with the run that was left alone."""
    return _damaged(folder, trials, "one bit of last.pt flipped", _flip)


def truncations(folder: Path, trials: int) -> Tally:
    """Cut a stopped run's newest checkpoint short."""
    return _damaged(folder, trials, "last.pt truncated", _truncate)


def damaged_tables(folder: Path, trials: int) -> Tally:
    """Damage metrics.csv and metrics.jsonl of a stopped run."""

    def damage(run: Path, generator: random.Random) -> None:
        path = run / generator.choice(["metrics.csv", "metrics.jsonl"])
        content = path.read_bytes()
        place = generator.randrange(len(content) + 1)
        junk = generator.choice([b"\n\n", b"\0" * 64, b"\xff\xfe garbage,,\n", b'{"kind": "upd', b""])
        path.write_bytes(content[:place] + junk + (content[place:] if generator.random() < 0.5 else b""))

    return _continued(folder, trials, "metrics.csv and metrics.jsonl damaged", damage)


def damaged_files(folder: Path, trials: int) -> Tally:
    """Flip a bit in any other file of a stopped run, or cut it short.

    Not of its lock, whose unreadable holder is given a minute to show that it lives.
    """
    names: set[str] = set()

    def damage(run: Path, generator: random.Random) -> None:
        files = [path for path in sorted(run.rglob("*")) if path.is_file()]
        path = generator.choice([path for path in files if path.suffix != ".pt" and path.name != LOCK])
        names.add(path.name)
        path.write_bytes(generator.choice([_flip, _truncate])(path.read_bytes(), generator))

    tally = _continued(folder, trials, "another file of the run damaged", damage)
    tally.notes.append(f"files: {', '.join(sorted(names))}")
    return tally


def _damaged(folder: Path, trials: int, name: str, change: Callable[[bytes, random.Random], bytes]) -> Tally:
    def damage(run: Path, generator: random.Random) -> None:
        content = change((run / "last.pt").read_bytes(), generator)
        newest = max((run / "saves").glob("*.pt"))
        for path in (run / "last.pt", newest):  # two names of one file
            path.unlink()
            path.write_bytes(content)

    return _continued(folder, trials, name, damage)


def _continued(folder: Path, trials: int, name: str, damage: Callable[[Path, random.Random], None]) -> Tally:
    """Damage a stopped run, continue it, and compare with the run that was left alone."""
    tally, generator = Tally(name), random.Random(3)
    straight, config = straight_run(folder), write_config(folder)
    stopped = folder / "runs" / "stopped"
    if not stopped.exists():
        status, printed = train_forked(
            ["--config", str(config), "checkpoint.name=stopped"], lambda: _end_after_update(7)
        )
        assert status == _STOPPED, printed
    for trial in range(trials):
        run = folder / "runs" / "damaged"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(stopped, run)
        damage(run, generator)
        status, printed = train_forked(["--config", str(config), "checkpoint.name=damaged"])
        problem = difference(run, straight) if status == 0 else f"exit status {status}: {printed[-300:]}"
        if problem == "its metrics.jsonl differs" and "metrics.jsonl was damaged" in printed:
            problem = None  # what is in no other file cannot come back, and is told
        tally.count(problem and f"trial {trial}: {problem}")
    return tally


_STOPPED = 98


def _end_after_update(number: int) -> None:
    update = MetricsLogger.update

    def report(self: MetricsLogger, step: object) -> None:
        update(self, step)  # type: ignore[arg-type]
        if step.update == number:  # type: ignore[attr-defined]
            os._exit(_STOPPED)

    MetricsLogger.update = report  # type: ignore[method-assign]


def _flip(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content)
    changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content))]


def full_disks(folder: Path, trials: int) -> Tally:
    """Let no file grow beyond a random size, as on a full disk; then free the disk, continue and compare."""
    generator = random.Random(4)

    def limit() -> tuple[str, Callable[[], object]]:
        size = generator.randrange(200, 400_000)
        return f"limit of {size}", partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, -1))

    return _refusing_disks(folder, trials, Tally("disk full, then freed"), limit, "error: cannot write")


def read_only_disks(folder: Path, trials: int) -> Tally:
    """Refuse all writing from some operation on, as a disk does that turns read-only; then continue and compare."""
    generator = random.Random(5)

    def refuse() -> tuple[str, Callable[[], object]]:
        operation = generator.randrange(100)
        return f"from operation {operation}", partial(at_file_operation, operation, _refuse)

    tally = Tally("disk turns read-only, then is writable")
    return _refusing_disks(folder, trials, tally, refuse, "Read-only file system")


def _refusing_disks(
    folder: Path, trials: int, tally: Tally, obstacle: Callable[[], tuple[str, Callable[[], object]]], message: str
) -> Tally:
    """Train with an obstacle, described and set up in the run's process, and continue without it.

    Args:
        message: What a run says that ends because of the obstacle.
    """
    straight, config = straight_run(folder), write_config(folder)
    for trial in range(trials):
        name = f"refused{trial}"
        arguments = ["--config", str(config), f"checkpoint.name={name}"]
        described, set_up = obstacle()
        status, printed = train_forked(arguments, set_up)
        if status not in (0, 1) or "Traceback" in printed or (status == 1 and message not in printed):
            tally.count(f"{described}: exit status {status}: {printed[-300:]}")
            continue
        status, printed = train_forked(arguments)
        problem = difference(folder / "runs" / name, straight) if status == 0 else printed[-300:]
        tally.count(problem and f"{described}: {problem}")
    return tally


def _refuse() -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def two_at_once(folder: Path, trials: int) -> Tally:
    """Start a run twice at once: one trains, the other names it."""
    tally = Tally("the same run started twice at once")
    straight, config = straight_run(folder), write_config(folder)
    for trial in range(trials):
        arguments = ["--config", str(config), f"checkpoint.name=twice{trial}"]
        pipes = [os.pipe() for _ in range(2)]
        processes = [start_forked(arguments, writing) for _, writing in pipes]
        outputs = []
        for reading, writing in pipes:
            os.close(writing)
            with os.fdopen(reading) as pipe:
                outputs.append(pipe.read())
        statuses = sorted(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes)
        problem = difference(folder / "runs" / f"twice{trial}", straight)
        if problem is None and not (statuses == [0, 1] and any("is in use by process" in text for text in outputs)):
            problem = f"exit statuses {statuses}"
        tally.count(problem)
    return tally
