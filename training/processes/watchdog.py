"""Ends a run whose processes wait for one that does not answer, and says which it is."""

import os
import sys
import threading
import time
from datetime import datetime
from typing import Any, NoReturn

import torch.distributed as dist

_PREFIX = "dcls/progress"


class Watchdog:
    """Compare this process's progress with that of the others.

    A process that waits longer than ``patience`` ends the run; torchrun then ends the other processes. It watches from
    the second sign of life on: before the first update ends, models may be compiled.

    Args:
        rank: Of this process.
        world_size: Number of processes.
        patience: In seconds.
    """

    def __init__(self, rank: int, world_size: int, patience: float) -> None:
        self._rank, self._world_size, self._patience = rank, world_size, patience
        self._store: Any = dist.PrefixStore(  # type: ignore[attr-defined]
            _PREFIX, dist.distributed_c10d._get_default_store()
        )
        self._steps, self._alive_at = 0, time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._report()
        self._thread.start()

    def step(self) -> None:
        """Show progress: this process has done its part and is going to wait for the others."""
        self._steps += 1
        self._alive_at = time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        reported = 0
        while not self._ended.wait(min(5.0, self._patience / 10)):
            if self._steps != reported:
                reported = self._steps
                self._report()
            if self._steps > 1 and time.monotonic() - self._alive_at > self._patience:
                self._end()

    def _report(self) -> None:
        self._store.set(str(self._rank), f"{self._steps} {time.time():.0f}")

    def _end(self) -> NoReturn:
        seen = {}
        for rank in range(self._world_size):
            steps, when = self._store.get(str(rank)).decode().split()
            seen[rank] = int(steps), int(when)
        last = min(seen, key=lambda rank: seen[rank])
        since = datetime.fromtimestamp(seen[last][1]).astimezone().isoformat(timespec="seconds")
        if self._rank != last:
            print(
                f"error: process {last} of {self._world_size} has not answered since {since}, for more than "
                f"{self._patience:g} s (training.timeout_minutes); see what it or its node says, then continue with "
                "checkpoint.resume=auto",
                file=sys.stderr,
                flush=True,
            )
        os._exit(1)  # an orderly end would wait for the process that does not answer
