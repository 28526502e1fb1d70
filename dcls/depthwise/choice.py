"""Which backend computes a convolution: the only place that decides."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from dcls.depthwise import direct, matmul, native
from dcls.depthwise.geometry import Padding


class Backend(Protocol):
    """A module that computes the convolution and its weight gradient; the input gradient is a convolution, too."""

    def convolve(self, input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
        """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W')."""

    def weight_gradient(self, grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding) -> Tensor:
        """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""


BACKENDS: dict[str, Backend] = {"direct": direct, "matmul": matmul, "native": native}
_forced: Backend | None = None


def choose_backend(input: Tensor) -> Backend:
    """The fastest backend for this input, or the one that ``use_backend`` asks for."""
    if _forced is not None:
        return _forced
    if input.device.type != "cpu":
        return direct
    return native if input.dtype != torch.float64 and native.is_available() else matmul


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Inside the block every depthwise convolution runs on this backend; for tests and benchmarks.

    Raises:
        ValueError: there is no such backend.
    """
    global _forced
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    before, _forced = _forced, BACKENDS[name]
    try:
        yield
    finally:
        _forced = before
