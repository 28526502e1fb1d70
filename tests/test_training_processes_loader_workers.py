import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

FORK = """
import os, signal, time
from training.processes.loader_workers import initialize_worker

ready, told = os.pipe()
worker = os.fork()
if worker == 0:
    initialize_worker(0)
    os.write(told, b".")
    time.sleep(100)
    os._exit(0)
os.read(ready, 1)
os.kill(worker, signal.SIGTERM)
os.kill(worker, signal.SIGINT)
time.sleep(0.2)
print(worker, os.waitpid(worker, os.WNOHANG) == (0, 0), flush=True)
"""


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_worker_outlives_signals_but_not_its_parent() -> None:
    parent = subprocess.run([sys.executable, "-c", FORK], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    worker, outlived = parent.stdout.split()
    assert outlived == "True"
    end = time.monotonic() + 20
    while is_running(int(worker)) and time.monotonic() < end:
        time.sleep(0.1)
    if is_running(int(worker)):
        os.kill(int(worker), signal.SIGKILL)
        pytest.fail("the worker is still there after its parent")


def test_the_end_of_a_process_does_not_wait_for_its_workers() -> None:
    code = (
        "import torch\nfrom training.processes.loader_workers import initialize_worker, kill_workers_at_exit\n"
        "kill_workers_at_exit()\n"
        "loader = torch.utils.data.DataLoader(range(100), num_workers=1, worker_init_fn=initialize_worker)\n"
        "iterator = iter(loader)\nnext(iterator)\niterator.kept = iterator\nraise SystemExit(3)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, timeout=60)
    assert result.returncode == 3


LOADER_AT_THE_END = """
import atexit, time
from torch.utils.data import DataLoader
from training.processes.loader_workers import initialize_worker, kill_workers_at_exit
atexit.register(time.sleep, 1)  # after the workers have been killed: the last registered function runs first
kill_workers_at_exit()
batches = iter(DataLoader(range(100), num_workers=2, worker_init_fn=initialize_worker))
next(batches)
"""


def test_workers_that_are_killed_at_the_end_are_no_failure() -> None:
    result = subprocess.run([sys.executable, "-c", LOADER_AT_THE_END], cwd=REPOSITORY, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
