"""Processes that end with the one that started them, even if that one is killed."""

import atexit
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from pathlib import Path

from training.processes.stop_signals import STOP_SIGNALS

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # found now: a fork may call it


def signal_when_parent_dies(number: int) -> None:
    """Let the system send this process a signal when its parent dies; on Linux only."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, number)


def end_with_parent(number: int, parent: int) -> None:
    """Send this process, just forked, a signal when its parent dies, or end it if that is dead already."""
    signal_when_parent_dies(number)
    if os.getppid() != parent:
        os._exit(1)


def end_with_launcher(number: int) -> None:
    """Send this process a signal when its launcher dies, or now if it is dead already; a lone process is left alone.

    Args:
        number: SIGKILL as long as there is nothing to save: a process that waits for the others in torch's own code
            answers no other signal. Then SIGTERM.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    signal_when_parent_dies(number)
    if sys.platform == "linux" and not _is_launcher(os.getppid()):  # it died while this process started
        signal.raise_signal(number)


def _is_launcher(process: int) -> bool:
    """Whether it runs Python, as torchrun and accelerate do; what adopts orphans does not."""
    try:
        return "python" in Path(f"/proc/{process}/exe").readlink().name
    except OSError:
        return False


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
