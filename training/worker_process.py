"""What a loader process does with signals: it lives as long as the process that it works for, and no longer."""

import ctypes
import signal
import sys

from training.stop_signals import STOP_SIGNALS

_PR_SET_PDEATHSIG = 1


def initialise_worker(worker_id: int) -> None:
    """Leave signals to the training process, which torchrun and terminals send them to as well, and die with it.

    Args:
        worker_id: Given by ``DataLoader``, as its ``worker_init_fn``.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
