"""Kernels whose elements move along some axes only: on the others, there are elements at every grid point."""

# Shapes: O out channels, I in channels per group, N elements per grid point of the fixed axes.

from collections.abc import Sequence

from torch import Tensor

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
