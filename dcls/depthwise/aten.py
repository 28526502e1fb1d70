"""Backend for everything: PyTorch's own convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dcls.depthwise.geometry import Padding
from dcls.torch_conv import convolve as torch_convolve
from dcls.torch_conv import needs_float32


def depthwise_fwd(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W')."""
    input, symmetric = _pad_odd(input, padding)
    return torch_convolve(input, kernel, bias, (1, 1), symmetric, (1, 1), input.shape[1])


def depthwise_bwd_weight(grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""
    if needs_float32(input.device, input.dtype, input.shape[1]):
        return depthwise_bwd_weight(grad.float(), input.float(), kernel_size, padding).to(input.dtype)
    input, symmetric = _pad_odd(input, padding)
    channels = input.shape[1]
    shape_only = input.new_empty(1).expand(channels, 1, *kernel_size)
    _, gradient, _ = torch.ops.aten.convolution_backward(
        grad, input, shape_only, None, [1, 1], symmetric, [1, 1], False, [0, 0], channels, [False, True, False]
    )
    assert isinstance(gradient, Tensor)
    return gradient


def _pad_odd(input: Tensor, padding: Padding) -> tuple[Tensor, tuple[int, int]]:
    """Pad by what the two sides differ in, and return the symmetric rest (rows, columns)."""
    rows, columns = min(padding.top, padding.bottom), min(padding.left, padding.right)
    odd = (padding.left - columns, padding.right - columns, padding.top - rows, padding.bottom - rows)
    return (F.pad(input, odd) if any(odd) else input), (rows, columns)
