"""How long the device has nothing to do because the next batch is not there yet."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORTH_A_WARNING = 0.05  # share of the time


class WaitClock:
    """Adds up how long a device waits for data.

    On a CPU that is the time spent in ``waiting``. A GPU may still be busy with earlier work then, so there it is the
    time between two events around ``waiting`` in the GPU's own queue of work, which is zero while it is busy.

    Args:
        device: The device that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._seconds = 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside."""
        if self.device.type == "cuda":
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            yield
            after.record()
            self._events.append((before, after))
        else:
            start = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - start

    def take_seconds(self) -> float:
        """Return what has been counted and is known by now, and count from 0 again."""
        while self._events and self._events[0][1].query():
            before, after = self._events.popleft()
            self._seconds += before.elapsed_time(after) / 1000
        seconds, self._seconds = self._seconds, 0.0
        return seconds


def advice(share: float, num_workers: int, cores: int) -> str:
    """Say what to change where the device waits for too much of the time.

    Args:
        share: Of the time, between 0 and 1.
        num_workers: Loader processes of one training process.
        cores: That this training process may use.
    """
    if num_workers < cores:
        fix = f"raise data.num_workers from {num_workers} to {cores}, the cores that each process has"
    else:
        fix = (
            f"data.num_workers={num_workers} uses all {cores} cores of a process already, so make the images smaller "
            "or cheaper: scripts/prepare_imagenet.py --max-size 320, shards on slow disks, a lighter "
            "augmentation.auto_augment"
        )
    return f"the device waited {share:.0%} of the epoch for images; {fix}"
