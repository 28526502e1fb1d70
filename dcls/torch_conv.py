"""PyTorch's own convolutions, without the calls that never return.

On processors with avx512_bf16, PyTorch 2.14's depthwise convolutions in bfloat16 and float16 (oneDNN) loop for ever for
some wide kernels. Grouped convolutions in low precision on CPUs therefore compute in float32, whatever the processor:
results must not depend on it.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LOW_PRECISION = (torch.float16, torch.bfloat16)
_BY_NDIM: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: str | Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Compute ``F.conv1d``, ``F.conv2d`` or ``F.conv3d``, whichever the weight's shape asks for.

    Args:
        input: (B, in_channels, *spatial) or without B.
        weight: (out_channels, in_channels / groups, *kernel_size).

    Returns:
        The result in the dtype of input, or that of autocast.
    """
    function = _BY_NDIM[weight.ndim - 2]
    dtype = computed_dtype(input)
    if not needs_float32(input.device, dtype, groups):
        return function(input, weight, bias, stride, padding, dilation, groups)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return function(input.float(), weight.float(), bias, stride, padding, dilation, groups).to(dtype)


def computed_dtype(input: Tensor) -> torch.dtype:
    """Return the dtype in which PyTorch would convolve input: its own, or that of autocast."""
    return torch.get_autocast_dtype(input.device.type) if is_autocast(input) else input.dtype


def is_autocast(input: Tensor) -> bool:
    """Return whether autocast chooses the precision of a convolution with this input; it leaves float64 alone."""
    device = input.device.type
    return device != "meta" and input.dtype != torch.float64 and torch.is_autocast_enabled(device)  # meta has none


def needs_float32(device: torch.device, dtype: torch.dtype, groups: int) -> bool:
    """Return whether this convolution might never return in its own precision."""
    return device.type == "cpu" and dtype in LOW_PRECISION and groups > 1
