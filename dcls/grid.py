"""Where the grid points of a dense kernel are, and which elements are out of their reach."""

import torch
from torch import Tensor


def axis_bounds(size: int) -> tuple[int, int]:
    """First and last grid point of an axis, in pixels from its center (index ``size // 2``)."""
    return -(size // 2), (size - 1) // 2


def overshoot(position: Tensor, size: int, reach: Tensor) -> Tensor:
    """Return how many pixels too far outside an axis of the kernel each element is, without derivatives.

    Args:
        position: In pixels from the center.
        size: Extent of the axis.
        reach: How far outside an element may be.
    """
    first, last = axis_bounds(size)
    position, reach = position.detach(), reach.detach()  # torch.no_grad would not stop forward-mode AD
    return position - torch.minimum(torch.maximum(position, first - reach), last + reach)
