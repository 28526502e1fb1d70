import signal
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from training.processes import stop_signals
from training.processes.stop_signals import STOP_SIGNALS, StopRequest, StopSignals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_before_training_a_signal_stops_at_once(number) -> None:
    with pytest.raises(StopRequest, match=f"stopped by {number.name} before training began"), StopSignals().watched():
        signal.raise_signal(number)


def test_what_comes_after_training_says_so() -> None:
    """As while a report is written."""
    with pytest.raises(StopRequest, match="after training had ended"), StopSignals().watched() as signals:
        with signals.deferred():
            pass
        signal.raise_signal(signal.SIGTERM)


def test_on_the_way_out_the_same_signal_again_interrupts_nothing() -> None:
    """torchrun sends it to the processes that are left once the first one has gone."""
    cleaned_up = False
    with pytest.raises(StopRequest, match="after update 3"), StopSignals().watched() as signals:
        try:
            with signals.deferred():
                signal.raise_signal(signal.SIGTERM)
                raise StopRequest(signal.SIGTERM, "after update 3")
        finally:
            signal.raise_signal(signal.SIGTERM)
            cleaned_up = True
    assert cleaned_up


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_in_training_a_signal_waits(number) -> None:
    before = signal.getsignal(number)
    with StopSignals().watched() as signals, signals.deferred():
        assert signals.received is None
        signal.raise_signal(number)
        signal.raise_signal(number)  # the launcher's copy of the same
        assert signals.received == number
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_process() -> None:
    code = (
        "import signal, time\nfrom training.processes import stop_signals\nstop_signals._SAME_SIGNAL_SECONDS = 0.1\n"
        "with stop_signals.StopSignals().watched() as signals, signals.deferred():\n"
        "    signal.raise_signal(signal.SIGTERM)\n    time.sleep(0.2)\n    print('waiting', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n    time.sleep(30)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.returncode) == ("waiting\n", -signal.SIGTERM)
    assert stop_signals._SAME_SIGNAL_SECONDS == 1.0


def test_what_turns_errors_into_messages_does_not_take_a_signal_for_one() -> None:
    with pytest.raises(StopRequest), StopSignals().watched():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception as error:
            raise AssertionError("told as an error") from error
