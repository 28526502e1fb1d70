"""How a command line ends when something is wrong: one message, no traceback, a non-zero exit status."""

import errno
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from dcls.errors import UserError
from training.memory import is_out_of_memory
from training.processes.stop_signals import StopRequest

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MAIN_PROCESS_SECONDS = 30.0
_OUT_OF_MEMORY = (
    "memory is full; lower training.micro_batch_size and data.val_batch_size (validate.py: --batch-size), or take a "
    "smaller model"
)


@contextmanager
def cli_errors(after_interruption: str = "") -> Iterator[None]:
    """Turn a ``UserError``, what the system says of a file, and Ctrl-C into one message and a non-zero exit status.

    Args:
        after_interruption: What to do next, said after a full disk and Ctrl-C.
    """
    try:
        try:
            yield
        except UserError as error:
            if error.on_every_rank and os.environ.get("RANK", "0") != "0":
                # The main process says the same and torchrun then ends this one. Ending now would end the run before it
                # is said; a process that is still here after the wait is the only one that knows.
                time.sleep(_MAIN_PROCESS_SECONDS)
            _stop(f"error: {error}", 1)
        except OSError as error:
            if error.errno in _DISK_FULL:
                _stop(f"error: cannot write: {error.strerror}; free space{after_interruption}", 1)
            if error.filename is None:
                raise
            _stop(f"error: {error.filename}: {error.strerror}", 1)
        except (RuntimeError, MemoryError) as error:
            killed = re.search(
                r"DataLoader worker \(.*?\) (is killed by signal: \w+( \w+)?|exited unexpectedly)", str(error)
            )
            if killed is None and not is_out_of_memory(error):
                raise
            _stop(f"error: {_of_a_loader(killed[1]) if killed else _OUT_OF_MEMORY}{after_interruption}", 1)
        except StopRequest as request:
            # The other processes say the same: the first one alone prints it.
            message = f"{request}{after_interruption}" if os.environ.get("RANK", "0") == "0" else None
            _stop(message, 128 + request.signal_number)
        except KeyboardInterrupt:
            _stop(f"interrupted{after_interruption}", 128 + signal.SIGINT)
    except Exception:
        if not _has_other_processes():
            raise
        traceback.print_exc()
        _stop(None, 1)


def _of_a_loader(end: str) -> str:
    return (
        f"a loader process {end}, as happens when memory is full; lower data.num_workers (validate.py: --workers), or "
        "ask for more memory"
    )


def _stop(message: str | None, status: int) -> NoReturn:
    if message is not None:
        print(message, file=sys.stderr, flush=True)
    if _has_other_processes():
        # An orderly end would wait for the other processes, which wait for this one.
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _has_other_processes() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
