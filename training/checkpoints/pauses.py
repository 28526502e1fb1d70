"""Between two updates: is the run to be saved now, or to be stopped, and do all processes know?"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from training.processes.distributed import Ballot
from training.processes.stop_signals import StopSignals


@dataclass
class SavePauses:
    """Pauses for saving, agreed on by all processes, see ``training.loop.Pauses``.

    Attributes:
        updates: Save after so many updates, or None.
        seconds: Save after so many seconds by the first process's clock, or None.
        signals: Whether this process is to stop.
        ballot: Of all processes.
        save: Save the run.
        stop: Save it, wait for the disk and raise; given the signal that asks for it.
    """

    updates: int | None
    seconds: float | None
    signals: StopSignals
    ballot: Ballot
    save: Callable[[], None]
    stop: Callable[[int], None]
    _updates: int = 0
    _saved_at: float = field(default_factory=time.monotonic)
    _signal: int = 0

    def is_due(self) -> bool:
        """Return whether all processes are to save now."""
        self._updates += 1
        is_time = self.seconds is not None and time.monotonic() - self._saved_at >= self.seconds
        by_clock, self._signal = self.ballot.highest(int(is_time), self.signals.received or 0)
        return bool(by_clock or self._signal or (self.updates is not None and self._updates % self.updates == 0))

    def act(self) -> None:
        """Save the run, and stop it if a signal asked for it."""
        if self._signal:
            self.stop(self._signal)
        self.save()
        self._saved_at = time.monotonic()
