import signal

import pytest
from linear_training import ALONE

from training.checkpoints.pauses import SavePauses
from training.processes.distributed import Ballot
from training.processes.stop_signals import StopRequest, StopSignals


def pauses(saved: list, updates: int | None = None, seconds: float | None = None) -> SavePauses:
    def stop(number: int) -> None:
        raise StopRequest(number, "here")

    return SavePauses(updates, seconds, StopSignals(), Ballot(ALONE), save=lambda: saved.append(1), stop=stop)


def test_due_after_so_many_updates() -> None:
    due = pauses([], updates=3)
    assert [due.is_due() for _ in range(7)] == [False, False, True, False, False, True, False]


def test_due_after_so_many_seconds_since_the_last_save(monkeypatch) -> None:
    now, saved = 100.0, []
    monkeypatch.setattr("training.checkpoints.pauses.time.monotonic", lambda: now)
    due = pauses(saved, seconds=60)
    due._saved_at = now
    now = 159.0
    assert not due.is_due()
    now = 160.0
    assert due.is_due()
    due.act()
    assert saved == [1] and not due.is_due()


def test_a_signal_is_due_at_once_and_stops() -> None:
    saved: list = []
    due = pauses(saved)
    assert not due.is_due()
    due.signals.received = signal.SIGTERM
    assert due.is_due()
    with pytest.raises(StopRequest, match="stopped by SIGTERM here"):
        due.act()
    assert saved == []
