"""Signals that ask a run to stop: in training they wait until the running update is done and saved."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from training.processes.parent_death import outlive_parent

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# Some launchers send the same signal to the whole job and to each process: two that come together are one.
_SAME_SIGNAL_SECONDS = 1.0


class StopRequest(BaseException):
    """The run was asked to stop, and all that it has done is saved.

    It may come anywhere before and after training, and must not be taken for an error of what runs there.

    Args:
        signal_number: What asked for it.
        place: Where the run has come to, such as "after update 12".
    """

    def __init__(self, signal_number: int, place: str) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} {place}")
        self.signal_number = signal_number


class StopSignals:
    """What to do with signals.

    Attributes:
        received: The signal that waits to be answered, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._is_deferring = False
        self._place = "before training began"

    @contextmanager
    def watched(self) -> Iterator["StopSignals"]:
        """Within the block, a signal raises ``StopRequest``; what follows within a second leaves the way out alone."""
        previous = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within the block, a signal is ``received`` and waits; a second one ends the process at once."""
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False
            self._place = "after training had ended"

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            outlive_parent()  # if it is its death that was told, its other threads would tell it again
            if not self._is_deferring:
                raise StopRequest(number, self._place)
        elif time.monotonic() - self._since > _SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
