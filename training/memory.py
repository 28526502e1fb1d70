"""What is said when memory is full: which key to lower, and to what."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dcls.errors import UserError

_SIGNS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it was raised because the memory of the machine or of its GPU is full."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def batch_that_fits(key: str, size: int, otherwise: str, what: str = "images") -> Iterator[None]:
    """Say to which size to lower a batch whose computation takes more memory than there is.

    Args:
        key: The key of its size.
        size: Its value.
        otherwise: What else helps.
        what: A batch consists of.

    Raises:
        UserError: memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fix = f"lower it to {_half(size)}, or {otherwise}" if size > 1 else otherwise
        raise UserError(f"{size} {what} do not fit into memory", fix, key=key) from None


def _half(size: int) -> int:
    """Return half a size, even where that is possible: mixup pairs images."""
    half = size // 2
    return half - half % 2 if half > 1 else half
