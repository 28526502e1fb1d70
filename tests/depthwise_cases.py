"""What the tests of the depthwise convolution have in common: shapes, tolerances and the comparison with the definition."""

import pytest
import torch
from torch import Tensor

from dcls.depthwise import native, triton_rows

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}

IN_FLOAT32 = ("native", "triton")  # whatever the input is

# (B, C, H, W), (h, w), (top, bottom, left, right)
SHAPES = {
    "same": ((2, 16, 14, 14), (7, 7), (3, 3, 3, 3)),
    "batch of one, H != W": ((1, 5, 6, 11), (13, 23), (6, 6, 11, 11)),
    "kernel beyond twice the map": ((2, 5, 7, 7), (51, 51), (25, 25, 25, 25)),
    "even kernel, odd padding": ((3, 17, 8, 8), (4, 6), (1, 2, 2, 3)),
    "no padding": ((2, 3, 5, 6), (2, 3), (0, 0, 0, 0)),
    "full padding": ((1, 9, 4, 5), (3, 4), (2, 2, 3, 3)),
    "one pixel": ((2, 4, 1, 1), (5, 5), (2, 2, 2, 2)),
    "wide": ((1, 2, 3, 90), (1, 17), (0, 0, 8, 8)),
    "tall": ((1, 2, 50, 3), (23, 2), (11, 11, 0, 1)),
    "tall and odd": ((3, 2, 117, 2), (51, 1), (25, 25, 0, 0)),
    "many channels": ((1, 20, 9, 5), (9, 3), (4, 4, 1, 1)),
}


def skip_unless_it_runs_here(backend: str) -> None:
    if backend == "native" and not native.is_available():
        pytest.skip("no C++ compiler on this machine")
    if backend == "triton" and not triton_rows.is_installed():
        pytest.skip("Triton is not installed")


def arguments(shape, size, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    tensors = torch.randn(shape), torch.randn(shape[1], 1, *size), torch.randn(shape[1])
    return tuple(t.to(dtype).requires_grad_() for t in tensors)


def output_and_gradients(convolve, tensors, seed_grad: Tensor) -> tuple[Tensor, ...]:
    out = convolve(*tensors)
    return out, *torch.autograd.grad(out, tensors, seed_grad.to(out.dtype))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()
