"""Which backend computes a convolution: the only place that decides."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, dtype, float64

from dcls.depthwise import native
from dcls.depthwise.operator import BACKENDS

_forced: str | None = None


def choose_backend(input: Tensor) -> str:
    """Name of the fastest backend for this input, or of the one that ``use_backend`` asks for."""
    if _forced is not None:
        return _forced
    if input.device.type != "cpu":
        return "direct"
    return _for_cpu(input.dtype)


def _for_cpu(kind: dtype) -> str:
    return "native" if kind != float64 and native.is_available() else "matmul"


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Inside the block every depthwise convolution runs on this backend; for tests and benchmarks.

    Raises:
        ValueError: there is no such backend.
    """
    global _forced
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before
