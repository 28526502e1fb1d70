"""Processes that are sent a signal in the middle of preparing images."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from unittest.mock import patch

from training.data.preparation import cores
from training.data.preparation.size_limit import SizeLimit


def interrupted(call: Callable[[], object], number: int, images: int) -> int:
    """Run ``call`` in a process that gets the signal before the image after so many; return how it ended.

    Returns:
        Its exit status, or the negative number of the signal that killed it.
    """
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_with_signal, args=(call, number, images, context.Value("i", 0)))
    process.start()
    process.join(100)
    return process.exitcode


def _with_signal(call: Callable[[], object], number: int, images: int, count) -> None:
    main, original = os.getpid(), SizeLimit.apply
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def apply(self, content):
        with count.get_lock():
            count.value += 1
            now = count.value
        if now == images + 1:
            os.kill(main, number)
        if now > images:
            cores._worker["stop"].wait(20)  # or the end, with the main process
        return original(self, content)

    with patch.object(SizeLimit, "apply", apply):
        call()
