"""The convolution as operators that autograd, torch.compile and torch.export know.

Both operators are linear in each argument, so the derivative of either is made of the two again, to any order. Under
``torch.func`` and forward-mode AD, PyTorch's own convolution takes their place.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

from dcls.depthwise import aten
from dcls.depthwise.dispatch import choose_backend
from dcls.depthwise.geometry import Padding, output_size
from dcls.transformations import is_transformed


def convolve(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W'), under any transformation."""
    if is_transformed():
        return aten.depthwise_fwd(input, kernel, bias, Padding(*padding))
    result: Tensor = depthwise_fwd(input, kernel, bias, padding)
    return result


def weight_gradient(grad: Tensor, input: Tensor, kernel_size: Sequence[int], padding: Sequence[int]) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w), under any transformation."""
    if is_transformed():
        return aten.depthwise_bwd_weight(grad, input, (kernel_size[0], kernel_size[1]), Padding(*padding))
    result: Tensor = depthwise_bwd_weight(grad, input, kernel_size, padding)
    return result


@torch.library.custom_op("dcls::depthwise_conv2d", mutates_args=())
def depthwise_fwd(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W') in the memory format of input."""
    backend = choose_backend(input, (kernel.shape[2], kernel.shape[3]))
    out = backend.depthwise_fwd(input, kernel, bias, Padding(*padding))
    return out.contiguous(memory_format=_memory_format(input))


@depthwise_fwd.register_fake
def _(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    size = output_size((input.shape[2], input.shape[3]), (kernel.shape[2], kernel.shape[3]), Padding(*padding))
    return input.new_empty(*input.shape[:2], *size).contiguous(memory_format=_memory_format(input))


@torch.library.custom_op("dcls::depthwise_conv2d_bwd_weight", mutates_args=())
def depthwise_bwd_weight(grad: Tensor, input: Tensor, kernel_size: Sequence[int], padding: Sequence[int]) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""
    rows, columns = kernel_size
    backend = choose_backend(input, (rows, columns))
    return backend.depthwise_bwd_weight(grad, input, (rows, columns), Padding(*padding)).contiguous()


@depthwise_bwd_weight.register_fake
def _(grad: Tensor, input: Tensor, kernel_size: Sequence[int], padding: Sequence[int]) -> Tensor:
    return input.new_empty(input.shape[1], 1, *kernel_size)


def _save_for_fwd(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, kernel, _, ctx.padding = inputs
    ctx.save_for_backward(input, kernel)


def _backward_of_fwd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    input, kernel = ctx.saved_tensors
    for_input, for_kernel, for_bias, *_ = ctx.needs_input_grad
    return (
        _input_gradient(grad, kernel, ctx.padding) if for_input else None,
        weight_gradient(grad, input, kernel.shape[2:], ctx.padding) if for_kernel else None,
        grad.sum((0, 2, 3)) if for_bias else None,
        None,
    )


def _save_for_bwd_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, input, _, ctx.padding = inputs
    ctx.save_for_backward(grad, input)


def _backward_of_bwd_weight(ctx: Any, by_kernel: Tensor) -> tuple[Tensor | None, ...]:
    grad, input = ctx.saved_tensors
    for_grad, for_input, *_ = ctx.needs_input_grad
    return (
        convolve(input, by_kernel, None, ctx.padding) if for_grad else None,
        _input_gradient(grad, by_kernel, ctx.padding) if for_input else None,
        None,
        None,
    )


def _input_gradient(grad: Tensor, kernel: Tensor, padding: Sequence[int]) -> Tensor:
    size = (kernel.shape[2], kernel.shape[3])
    return convolve(grad, kernel.flip(2, 3), None, Padding(*padding).flipped(size))


depthwise_fwd.register_autograd(_backward_of_fwd, setup_context=_save_for_fwd)
depthwise_bwd_weight.register_autograd(_backward_of_bwd_weight, setup_context=_save_for_bwd_weight)


@register_flop_formula(torch.ops.dcls.depthwise_conv2d)
def _(input: Any, kernel: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return conv_flop_count(input, kernel, out_shape)


@register_flop_formula(torch.ops.dcls.depthwise_conv2d_bwd_weight)
def _(grad: Any, input: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    return conv_flop_count(input, out_shape, grad)


def _memory_format(tensor: Tensor) -> torch.memory_format:
    is_last = tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format
