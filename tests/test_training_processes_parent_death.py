import os
import signal
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from training.processes import parent_death
from training.processes.parent_death import end_with_launcher


def test_a_process_that_started_when_its_launcher_was_dead_stops(monkeypatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr(parent_death, "signal_when_parent_dies", lambda number: None)
    monkeypatch.setattr(os, "getppid", lambda: 2**22 + 1)  # no process has this number
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        end_with_launcher(signal.SIGTERM)
        assert received == [signal.SIGTERM]
        monkeypatch.delenv("TORCHELASTIC_RUN_ID")
        end_with_launcher(signal.SIGTERM)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_any_python_process_may_be_the_launcher(monkeypatch) -> None:
    """``accelerate launch`` is one, and a script that calls ``elastic_launch``."""
    code = (
        "import os, signal, subprocess, sys\n"
        "child = 'from training.processes.parent_death import end_with_launcher; end_with_launcher(15); print(1)'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', child]).returncode)"
    )
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr


PARENT_OF_MANY_THREADS = """
import subprocess, sys, threading, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stderr=subprocess.PIPE)
child.stderr.readline()
for _ in range(60):
    threading.Thread(target=exec, args=("while True: pass",), daemon=True).start()
print("ready", flush=True)
time.sleep(100)
"""
CHILD = """
import sys, time
from training.processes.parent_death import signal_when_parent_dies
from training.processes.stop_signals import StopSignals

with StopSignals().watched():
    try:
        signal_when_parent_dies(15)
        print("ready", file=sys.stderr)
        time.sleep(60)
    finally:
        end = time.monotonic() + 5
        while time.monotonic() < end:  # while the parent's other threads die
            time.sleep(0.01)
        print("cleaned up", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_parent_whose_threads_die_one_by_one_is_told_once() -> None:
    command = [sys.executable, "-c", PARENT_OF_MANY_THREADS, CHILD]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        parent.kill()
        assert parent.stdout.read() == "cleaned up\n"
