"""Which backend computes a convolution: the only place that decides."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from dcls.depthwise import aten, matmul, native, toeplitz, triton_rows
from dcls.depthwise.geometry import Padding


class Backend(Protocol):
    """A module that computes the convolution and its weight gradient; the input gradient is a convolution, too."""

    def depthwise_fwd(self, input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
        """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W')."""

    def depthwise_bwd_weight(
        self, grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding
    ) -> Tensor:
        """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""


BACKENDS: dict[str, Backend] = {
    "aten": aten,
    "matmul": matmul,
    "native": native,
    "toeplitz": toeplitz,
    "triton": triton_rows,
}
_forced: Backend | None = None

# A multiply-add of the direct convolution takes as long as this many in a matrix product, on tensor cores with half
# precision; and expanding the matrix of ``toeplitz`` as long as this many images. Estimates, not measured.
MATRIX_ADVANTAGE = {torch.float32: 2, torch.float16: 8, torch.bfloat16: 8}
EXPANSION_IN_IMAGES = 32
# Pixels of the largest map whose Toeplitz matrices, H W H' W' numbers a channel, are worth their memory.
LARGEST_TOEPLITZ_MAP = 256


def choose_backend(input: Tensor, kernel_size: tuple[int, int]) -> Backend:
    """Choose the fastest backend for this input and (cropped) kernel, or the one that ``use_backend`` asks for."""
    if _forced is not None:
        return _forced
    if input.device.type == "cpu":
        return native if input.dtype in MATRIX_ADVANTAGE and native.is_available() else matmul
    if input.device.type == "cuda" and input.dtype in MATRIX_ADVANTAGE and input.shape[0] > 0:
        return _cheapest_on_gpu(input, kernel_size)
    return aten


def _cheapest_on_gpu(input: Tensor, kernel_size: tuple[int, int]) -> Backend:
    """By multiply-adds a pixel."""
    batch, pixels, width = input.shape[0], input.shape[2] * input.shape[3], input.shape[3]
    rows, columns = kernel_size
    costs: list[tuple[float, Backend]] = [(MATRIX_ADVANTAGE[input.dtype] * rows * columns, aten)]
    if pixels <= LARGEST_TOEPLITZ_MAP:
        costs.append((pixels * (1 + EXPANSION_IN_IMAGES / batch), toeplitz))
    if triton_rows.is_available(input.device):
        costs.append((rows * triton_rows.columns_met(width, columns), triton_rows))
    return min(costs, key=lambda cost: cost[0])[1]


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
