"""``F.conv2d`` and ``nn.Conv2d`` on the fast path, where there is one."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcls.depthwise import depthwise_conv2d
from dcls.depthwise.geometry import Padding, crop_unreachable
from dcls.padding import padding_amounts


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

    It can where the convolution is depthwise, of stride and dilation 1, padded by less than the kernel's extent.
    """
    is_depthwise = groups == weight.shape[0] and weight.shape[1] == 1
    if is_depthwise and input.ndim == 4 and set(stride) == set(dilation) == {1}:
        size = weight.shape[2:]
        (top, bottom), (left, right) = padding_amounts(padding, size, dilation)
        if max(top, bottom) < size[0] and max(left, right) < size[1]:
            return depthwise_conv2d(input, weight, bias, (top, bottom, left, right))
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups)


class FastConv2d(nn.Conv2d):
    """An ``nn.Conv2d`` that computes by ``conv2d`` above, and as its base class in an exported or traced program.

    Attributes:
        largest_input: (H, W) of the largest input that ``crop`` left the kernel right for; None for any.
    """

    largest_input: tuple[int, int] | None = None

    def crop(self, input_size: tuple[int, int]) -> None:
        """Cut off what can only meet padding in inputs up to (H, W), see ``geometry.crop_unreachable``.

        A kernel with stride, dilation or another padding mode stays whole.
        """
        if self.padding_mode != "zeros" or not set(self.stride) == set(self.dilation) == {1}:
            return
        (top, bottom), (left, right) = padding_amounts(self.padding, self.kernel_size, self.dilation)
        kernel, rest = crop_unreachable(self.weight.detach(), Padding(top, bottom, left, right), input_size)
        if kernel.shape == self.weight.shape:
            return
        self.weight = nn.Parameter(kernel.contiguous())
        self.kernel_size = (kernel.shape[2], kernel.shape[3])
        if not isinstance(self.padding, str):
            self.padding = (rest.top, rest.left)
        self.largest_input = input_size

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        self._check_size((input.shape[-2], input.shape[-1]))
        is_program = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        if is_program or self.padding_mode != "zeros":
            result: Tensor = super()._conv_forward(input, weight, bias)
            return result
        return conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def _check_size(self, size: tuple[int, int]) -> None:
        if self.largest_input and (size[0] > self.largest_input[0] or size[1] > self.largest_input[1]):
            raise ValueError(
                f"this layer's kernel was cropped for inputs up to {self.largest_input}, got {size}; fold the network "
                "again, without an example or with one of this size"
            )
