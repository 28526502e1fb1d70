"""Depthwise convolution with large kernels at the price of small ones.

``depthwise_conv2d`` crops the kernel to what can meet the input (geometry.py) and hands over to the operator
(ops.py) of the backend that suits device and dtype (dispatch.py). A backend is a module with two functions; all are
tested against reference.py.
"""

from torch import Tensor

from dcls.depthwise.dispatch import BACKENDS, use_backend
from dcls.depthwise.geometry import Padding, crop_unreachable, output_size
from dcls.depthwise.ops import convolve
from dcls.torch_conv import computed_dtype, is_autocast

__all__ = ["BACKENDS", "Padding", "depthwise_conv2d", "use_backend"]


def depthwise_conv2d(
    input: Tensor, kernel: Tensor, bias: Tensor | None = None, padding: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> Tensor:
    """Convolve each channel with a kernel of its own, at stride 1; twice differentiable.

    ``out[b, c, y, x] = bias[c] + sum_{i, j} kernel[c, 0, i, j] input[b, c, y + i - top, x + j - left]``

    Args:
        input: (B, C, H, W), in any memory format.
        kernel: (C, 1, h, w).
        bias: (C,) or None.
        padding: Zeros at the top, bottom, left and right of the input, each less than the kernel's extent.

    Returns:
        (B, C, H', W') in the memory format of input, in its dtype or that of autocast.

    Raises:
        ValueError: shapes, dtypes or devices disagree, the kernel is larger than the padded input, or the padding as
            large as the kernel.
    """
    if is_autocast(input):
        dtype = computed_dtype(input)
        input, kernel, bias = input.to(dtype), kernel.to(dtype), None if bias is None else bias.to(dtype)
    sides = Padding(*padding)
    _check(input, kernel, bias, sides)
    kernel, sides = crop_unreachable(kernel, sides, (input.shape[2], input.shape[3]))
    return convolve(input, kernel, bias, sides)


def _check(input: Tensor, kernel: Tensor, bias: Tensor | None, sides: Padding) -> None:
    channels = input.shape[1] if input.ndim == 4 else None
    expected = {"kernel": (kernel, (channels, 1, *kernel.shape[2:])), "bias": (bias, (channels,))}
    for name, (tensor, shape) in expected.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            shapes = f"{name} of shape {tuple(tensor.shape)} does not fit an input of shape {tuple(input.shape)}"
            raise ValueError(f"{shapes}; expected {shape} with an input (B, C, H, W)")
        if (tensor.dtype, tensor.device) != (input.dtype, input.device):
            raise ValueError(
                f"{name} is {tensor.dtype} on {tensor.device}, but the input {input.dtype} on {input.device}"
            )
    size, kernel_size = (input.shape[2], input.shape[3]), (kernel.shape[2], kernel.shape[3])
    extents = (kernel_size[0], kernel_size[0], kernel_size[1], kernel_size[1])
    if not all(0 <= side < extent for side, extent in zip(sides, extents, strict=True)):
        raise ValueError(f"padding {tuple(sides)} must be at least 0 and less than the kernel's extent {kernel_size}")
    if min(output_size(size, kernel_size, sides)) < 1:
        raise ValueError(f"the kernel {kernel_size} is larger than the input {size} with padding {tuple(sides)}")
