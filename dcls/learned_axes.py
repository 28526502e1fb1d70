"""Kernels whose elements move along some axes only: on the others, there are elements at every grid point."""

# Shapes: O out channels, I in channels per group, N elements per grid point of the fixed axes.

from collections.abc import Sequence

import torch
from torch import Tensor

from dcls.grid import axis_bounds
from dcls.kernel import construct_kernel


def fixed_sizes(size: Sequence[int], learned_axes: Sequence[int]) -> tuple[int, ...]:
    """Return the extents of the axes along which nothing moves."""
    return tuple(extent for axis, extent in enumerate(size) if axis not in learned_axes)


def construct_along(
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    dilated_kernel_size: Sequence[int],
    learned_axes: Sequence[int],
    interpolation: str,
) -> Tensor:
    """Do what ``dcls.construct_kernel`` does along the learned axes, for each grid point of the others.

    Args:
        weight: ([L,] O, I, *fixed sizes, N)
        positions: (learned axes, O, I, *fixed sizes, N)
        sigma: likewise, or None.
        dilated_kernel_size: Extent of the dense kernel along all axes.
        learned_axes: In ascending order.
        interpolation: A name of ``dcls.INTERPOLATIONS``.

    Returns:
        ([L,] O, I, *dilated_kernel_size)
    """
    fixed = fixed_sizes(dilated_kernel_size, learned_axes)
    if not fixed:
        return construct_kernel(weight, positions, sigma, dilated_kernel_size, interpolation)
    first = -2 - len(fixed)  # I and the fixed sizes are one axis to the construction
    kernel = construct_kernel(
        weight.flatten(first, -2),
        positions.flatten(first, -2),
        None if sigma is None else sigma.flatten(first, -2),
        [dilated_kernel_size[axis] for axis in learned_axes],
        interpolation,
    ).unflatten(-1 - len(learned_axes), (-1, *fixed))
    ndim = len(dilated_kernel_size)
    order = [axis for axis in range(ndim) if axis not in learned_axes] + list(learned_axes)
    leading = kernel.ndim - ndim
    return kernel.permute(*range(leading), *(leading + order.index(axis) for axis in range(ndim)))


def places_of(positions: Tensor, dilated_kernel_size: Sequence[int], learned_axes: Sequence[int]) -> Tensor:
    """Return where the elements of a kernel are along all axes, (ndim, elements) in pixels from its center.

    Args:
        positions: (learned axes, *fixed sizes, N)
    """
    fixed = fixed_sizes(dilated_kernel_size, learned_axes)
    offsets = [torch.arange(size) + axis_bounds(size)[0] for size in fixed]
    grids = torch.meshgrid(*offsets, indexing="ij") if offsets else ()
    return _on_all_axes(positions, [grid.to(positions)[..., None] for grid in grids], learned_axes)


def spreads_of(
    spreads: Tensor, dilated_kernel_size: Sequence[int], learned_axes: Sequence[int], elsewhere: float
) -> Tensor:
    """Return how wide the elements of a kernel are along all axes, (ndim, elements) in pixels.

    Args:
        spreads: (learned axes, *fixed sizes, N)
        elsewhere: Along the axes on which nothing moves.
    """
    fixed = [spreads.new_tensor(elsewhere)] * (len(dilated_kernel_size) - len(learned_axes))
    return _on_all_axes(spreads, fixed, learned_axes)


def _on_all_axes(learned: Tensor, others: Sequence[Tensor], learned_axes: Sequence[int]) -> Tensor:
    """(learned axes, *fixed sizes, N), and values of the other axes in their order -> (ndim, elements)."""
    of_others = iter(others)
    of_learned = dict(zip(learned_axes, learned, strict=True))
    axes = range(len(learned) + len(others))
    values = [of_learned[axis] if axis in of_learned else next(of_others) for axis in axes]
    return torch.stack([value.expand(learned.shape[1:]).flatten() for value in values])
