"""Processes that load data: they leave signals to the training process, and do not outlive it."""

import atexit
import gc
import multiprocessing
import signal
import sys

from training.processes.parent_death import signal_when_parent_dies
from training.processes.stop_signals import STOP_SIGNALS


def kill_workers_at_exit() -> None:
    """Let the end of this process not wait for its loader processes: they ignore Python's signal to end."""
    atexit.register(_kill_children)


def _kill_children() -> None:
    if sys.platform != "win32":
        # torch's handler takes a loader process that is killed for one that has failed
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        child.kill()


def initialize_worker(worker_id: int) -> None:
    """Leave signals to the training process, which torchrun and terminals send them to as well, and die with it.

    Args:
        worker_id: Given by ``DataLoader``, as its ``worker_init_fn``.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal_when_parent_dies(signal.SIGKILL)
    gc.freeze()  # collecting garbage would write to all objects that came from the parent, and so copy their memory
