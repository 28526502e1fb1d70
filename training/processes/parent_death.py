"""Processes that end with the one that started them, even if that one is killed."""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # found now: a fork may call it


def signal_when_parent_dies(number: int) -> None:
    """Let the system send this process a signal when its parent dies; on Linux only.

    A parent with several threads dies one thread at a time, and each may send the signal, up to seconds apart.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, number)


def outlive_parent() -> None:
    """Take back ``signal_when_parent_dies``, as once the signal has come."""
    signal_when_parent_dies(0)


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
