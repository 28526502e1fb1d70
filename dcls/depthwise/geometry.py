"""Sizes and paddings of a stride-1 convolution, and the part of its kernel that can meet the input at all."""

from typing import NamedTuple

from torch import Tensor


class Padding(NamedTuple):
    """Zeros around the input, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    def flipped(self, kernel_size: tuple[int, int]) -> "Padding":
        """Around the output gradient, where the flipped kernel gives the input gradient."""
        rows, columns = kernel_size
        return Padding(rows - 1 - self.top, rows - 1 - self.bottom, columns - 1 - self.left, columns - 1 - self.right)


def output_size(input_size: tuple[int, int], kernel_size: tuple[int, int], padding: Padding) -> tuple[int, int]:
    """(H, W), (h, w) -> (H', W')."""
    return (
        input_size[0] + padding.top + padding.bottom - kernel_size[0] + 1,
        input_size[1] + padding.left + padding.right - kernel_size[1] + 1,
    )


def crop_unreachable(kernel: Tensor, padding: Padding, input_size: tuple[int, int]) -> tuple[Tensor, Padding]:
    """Cut off the kernel's rows and columns that only ever meet padding; the convolution stays exactly the same.

    With "same" padding at most 2 H - 1 rows remain, so the cost stops growing with the kernel.

    Args:
        kernel: (C, 1, h, w).
        input_size: (H, W).

    Returns:
        A view of the kernel, and the padding that goes with it.
    """
    rows, columns = kernel.shape[-2:]
    out_rows, out_columns = output_size(input_size, (rows, columns), padding)
    # Row i meets input row y + i - top for outputs y in [0, H').
    top, bottom = max(0, padding.top - out_rows + 1), min(rows, padding.top + input_size[0])
    left, right = max(0, padding.left - out_columns + 1), min(columns, padding.left + input_size[1])
    if (top, bottom, left, right) == (0, rows, 0, columns):
        return kernel, padding
    rest = Padding(
        padding.top - top, padding.bottom - (rows - bottom), padding.left - left, padding.right - (columns - right)
    )
    return kernel[..., top:bottom, left:right], rest
