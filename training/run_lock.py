"""One run, one folder: a lock file that names its holder, and does not outlive it."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dcls.errors import UserError

FILE = "lock.json"
BEAT_SECONDS = 10.0
"""How often the holder touches its lock."""
SILENCE_SECONDS = 60.0
"""A lock that was not touched for so long is that of a process that died on another machine."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the folder of a run within the block; that of a dead process is taken over.

    A process of this machine is known to be dead at once. One of another machine, on a shared disk, is waited for until
    it has been silent for ``SILENCE_SECONDS``.

    Raises:
        UserError: another process holds the folder, or it cannot be written.
    """
    path = folder / FILE
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not _create(path):
            _wait_for_death(path)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error}", key="checkpoint.dir") from None
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, ended), name="lock", daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):  # the disk no longer takes anything; the lock of a dead process does not block
            path.unlink(missing_ok=True)
        if created:
            with suppress(OSError):  # not empty: the run has begun
                folder.rmdir()


def _create(path: Path) -> bool:
    """Create the lock unless it exists: complete at once, so that nobody reads half of it."""
    own = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
    own.write_text(json.dumps(_self()))
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError:  # a disk without links
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(_self()))
    finally:
        own.unlink()
    return True


def _self() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": os.getpid(),
        "started": _start_of(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _machine() -> str:
    """Name what has process numbers of its own: a machine since it booted, or a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _wait_for_death(path: Path) -> None:
    """Remove the lock of a dead process.

    Raises:
        UserError: its holder lives.
    """
    try:
        text, touched = path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime
    except FileNotFoundError:  # given back meanwhile
        return
    try:
        holder: dict[str, Any] = dict(json.loads(text))
    except (ValueError, TypeError):  # half written on a disk without links, or damaged
        holder = {}
    if holder.get("machine") == _machine():
        if _lives(holder):
            raise _held(path, holder)
        _remove(path, touched)
        return
    deadline = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(1)
        if not path.exists():
            return
        if path.stat().st_mtime != touched:
            raise _held(path, holder)
    _remove(path, touched)


def _held(path: Path, holder: dict[str, Any]) -> UserError:
    job = f", SLURM job {holder['job']}" if holder.get("job") else ""
    return UserError(
        f"{path.parent} is in use by process {holder.get('process')} on {holder.get('host')}{job}, since "
        f"{holder.get('since')}",
        "wait for its end, or choose another checkpoint.name",
        key="checkpoint.name",
    )


def _remove(path: Path, touched: float) -> None:
    """Remove a lock that is still the one that was looked at: of two that find it, one moves it away."""
    grave = path.with_name(f"{path.name}.{os.getpid()}.dead")
    try:
        os.rename(path, grave)
    except FileNotFoundError:
        return
    if grave.stat().st_mtime != touched:  # a new holder's: put it back
        with suppress(FileExistsError):
            os.link(grave, path)
    grave.unlink()


def _lives(holder: dict[str, Any]) -> bool:
    """Whether the process is there, and is not another one that got its number."""
    started = _start_of(holder["process"])
    return started is not None and holder.get("started") in (None, started)


def _start_of(process: int) -> str | None:
    """When a process of this machine started, in ticks since boot; None if it is not there."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        return _answers(process)
    return None if fields[0] in "ZX" else fields[19]


def _answers(process: int) -> str | None:
    """As ``_start_of``, on systems without /proc."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)
