"""metrics.jsonl: a line for every epoch and for some updates, and the checksum by which a checkpoint knows them."""

import itertools
import json
import zlib
from pathlib import Path
from typing import Any

from training.atomic_io import write_text_atomic
from training.state import TrainState


class JsonLines:
    """The lines of a run. Its state counts them: size and checksum are saved with it.

    Args:
        file: metrics.jsonl.
        log_interval: Updates from one line to the next.
        state: Of the run.
    """

    def __init__(self, file: Path, log_interval: int, state: TrainState) -> None:
        self.file, self.log_interval, self._state = file, log_interval, state

    def append(self, row: dict[str, Any]) -> None:
        """Write a line."""
        line = json.dumps(row) + "\n"
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line)
        self._count(line.encode())

    def begin(self) -> str | None:
        """Drop what was written after the last checkpoint, and return what is damaged before that."""
        state = self._state
        content = self.file.read_bytes() if self.file.exists() else b""
        known, later = content[: state.log_size], content[state.log_size :]
        damage = None
        if state.log_size and zlib.crc32(known) == state.log_checksum:
            kept = known + b"".join(_lines_before(state, later, only="continued"))
        else:
            kept = b"".join(_lines_before(state, content))
            if state.log_size:
                damage = self._damage(kept)
        if kept != content:
            write_text_atomic(self.file, kept.decode())
        state.log_size, state.log_checksum = 0, 0
        self._count(kept)
        return damage

    def _count(self, content: bytes) -> None:
        self._state.log_size += len(content)
        self._state.log_checksum = zlib.crc32(content, self._state.log_checksum)

    def _damage(self, kept: bytes) -> str:
        """Say where lines are missing, or else that some have changed."""
        rows = [json.loads(line) for line in kept.decode().splitlines()]
        updates = [row["update"] for row in rows if row["kind"] == "update"]
        missing = _gaps([0, *updates, self._state.updates + 1], self.log_interval)
        missing += ["of whole epochs"] * (sum(row["kind"] == "epoch" for row in rows) < self._state.epoch)
        problem = f"lines are missing {', '.join(missing)}" if missing else "some of its values have changed"
        return f"{self.file} was damaged, {problem}"


def _gaps(updates: list[int], log_interval: int) -> list[str]:
    """Describe where lines are missing: further apart than the interval, and than those around them."""
    sizes = [second - first for first, second in itertools.pairwise(updates)]
    around = [max(log_interval, *sizes[max(i - 1, 0) : i], *sizes[i + 1 : i + 2], 0) for i in range(len(sizes))]
    return [f"between updates {updates[i]} and {updates[i + 1]}" for i, size in enumerate(sizes) if size > around[i]]


def _lines_before(state: TrainState, content: bytes, only: str | None = None) -> list[bytes]:
    """Return the whole lines, of one kind or all, up to where the run continues."""
    lines = content.splitlines(keepends=True)
    return [line for line in lines if line.endswith(b"\n") and _is_before(state, line, only)]


def _is_before(state: TrainState, line: bytes, only: str | None) -> bool:
    try:
        row = json.loads(line.decode())
        number, reached = ("epoch", state.epoch - 1) if row["kind"] == "epoch" else ("update", state.updates)
        return only in (None, row["kind"]) and bool(row[number] <= reached)
    except (ValueError, LookupError, TypeError):  # cut off, NULs after a power cut, or a key with a flipped bit
        return False
