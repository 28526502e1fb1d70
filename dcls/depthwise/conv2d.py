"""``F.conv2d`` and ``nn.Conv2d`` on the fast path, where there is one."""

import math
from collections.abc import Sequence

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from dcls.depthwise import depthwise_conv2d
from dcls.depthwise.geometry import Padding, crop_unreachable, output_size
from dcls.padding import padding_amounts
from dcls.torch_conv import convolve
from dcls.transformations import is_written_down


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: str | Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """``F.conv2d``, through ``depthwise_conv2d`` where that can do it.

    It can where the convolution is depthwise, of stride and dilation 1, padded by less than the kernel's extent; in an
    exported or traced program it is PyTorch's.
    """
    if is_written_down():
        return convolve(input, weight, bias, stride, padding, dilation, groups)
    is_depthwise = groups == weight.shape[0] and weight.shape[1] == 1
    if is_depthwise and input.ndim == 4 and set(stride) == set(dilation) == {1}:
        size = weight.shape[2:]
        (top, bottom), (left, right) = padding_amounts(padding, size, dilation)
        if max(top, bottom) < size[0] and max(left, right) < size[1]:
            return depthwise_conv2d(input, weight, bias, (top, bottom, left, right))
    return convolve(input, weight, bias, stride, padding, dilation, groups)


class FastConv2d(nn.Conv2d):
    """An ``nn.Conv2d`` that computes by ``conv2d`` above, and as its base class in an exported or traced program.

    Attributes:
        largest_input: (H, W) of the largest input that ``crop`` left the kernel right for; infinite for any.
    """

    largest_input: tuple[float, float] = (math.inf, math.inf)

    def crop(self, input_size: tuple[int, int]) -> None:
        """Cut off what can only meet padding in inputs up to (H, W), see ``geometry.crop_unreachable``.

        A kernel with stride, dilation or another padding mode stays whole.

        Raises:
            ValueError: the kernel is larger than such an input with its padding.
        """
        if self.padding_mode != "zeros" or not set(self.stride) == set(self.dilation) == {1}:
            return
        (top, bottom), (left, right) = padding_amounts(self.padding, self.kernel_size, self.dilation)
        sides = Padding(top, bottom, left, right)
        rows, columns = self.weight.shape[2:]
        if min(output_size(input_size, (rows, columns), sides)) < 1:
            raise ValueError(f"the kernel {(rows, columns)} is larger than an input {input_size} with its padding")
        kernel, rest = crop_unreachable(self.weight.detach(), sides, input_size)
        self.largest_input = (
            min(self.largest_input[0], math.inf if kernel.shape[2] == rows else input_size[0]),
            min(self.largest_input[1], math.inf if kernel.shape[3] == columns else input_size[1]),
        )
        self.weight = nn.Parameter(kernel.contiguous(), requires_grad=self.weight.requires_grad)
        self.kernel_size = (kernel.shape[2], kernel.shape[3])
        if not isinstance(self.padding, str):
            self.padding = (rest.top, rest.left)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(input, torch.fx.Proxy) or torch.compiler.is_exporting():
            result: Tensor = super()._conv_forward(input, weight, bias)
            return result
        is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
        if not is_traced:
            self._check_size((input.shape[-2], input.shape[-1]))
        padding: str | tuple[int, ...] = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = (0, 0)
        compute = convolve if is_traced else conv2d
        return compute(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _check_size(self, size: tuple[int, int]) -> None:
        if size[0] > self.largest_input[0] or size[1] > self.largest_input[1]:
            raise ValueError(
                f"this layer's kernel was cropped for inputs up to {self.largest_input}, got {size}; fold the model "
                "again, without an example or with one of this size"
            )
