"""Kernels of footprints that are no product over the axes: every element on the whole grid, a few kernels at a time."""

# Shapes: L layers, R kernels (out channels * in channels per group), N kernel_count, G grid points of a kernel.

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dcls.grid import axis_bounds, overshoot
from dcls.interpolation import MASS_EPS, Interpolation
from dcls.transformations import is_transformed, is_written_down

MAX_ENTRIES = 2**18
"""Entries of the largest tensor, unless those of one kernel are more (N * G); 1 MB in float32."""


def construct_densely(
    weight: Tensor, positions: Tensor, sigma: Tensor, size: Sequence[int], kind: Interpolation
) -> Tensor:
    """Do what ``dcls.construct_kernel`` does, ([L,] O, I, N) -> ([L,] O, I, *size), all in one dtype.

    The kernels are built in groups of at most ``MAX_ENTRIES`` element footprints. Where there are several groups, their
    intermediate results are not kept for the gradient but computed again, so that memory does not grow with the number
    of channels.
    """
    layers = weight if weight.ndim == 4 else weight.unsqueeze(0)
    nothing_is_computed_again = is_transformed() or is_written_down()
    build: Callable[..., Tensor] = _construct_group if nothing_is_computed_again else _construct_in_groups
    kernels = build(layers.flatten(1, 2), positions.flatten(1, 2), sigma.flatten(1, 2), size, kind)
    kernels = kernels.unflatten(2, tuple(size)).unflatten(1, (-1, weight.shape[-2]))  # (L, O, I, *size)
    return kernels if weight.ndim == 4 else kernels.squeeze(0)


def _construct_in_groups(
    weight: Tensor, positions: Tensor, sigma: Tensor, size: Sequence[int], kind: Interpolation
) -> Tensor:
    """(L, R, N), (ndim, R, N), (rows, R, N) -> (L, R, G)."""
    step = max(1, MAX_ENTRIES // (weight.shape[-1] * prod(size)))
    groups = list(zip(weight.split(step, 1), positions.split(step, 1), sigma.split(step, 1), strict=True))
    if len(groups) == 1:
        return _construct_group(*groups[0], size, kind)
    built = [
        checkpoint(_construct_group, *group, size, kind, use_reentrant=False, preserve_rng_state=False)
        for group in groups
    ]
    return torch.cat(built, 1)


def _construct_group(
    weight: Tensor, positions: Tensor, sigma: Tensor, size: Sequence[int], kind: Interpolation
) -> Tensor:
    """(L, R, N), (ndim, R, N), (rows, R, N) -> (L, R, G)."""
    footprint = joint_footprint(positions, sigma, size, kind)
    weight = weight / (footprint.sum(-1) + MASS_EPS) if kind.normalized else weight
    kernel: Tensor = weight.transpose(0, 1) @ footprint  # (R, L, G)
    return kernel.transpose(0, 1)


def joint_footprint(positions: Tensor, sigma: Tensor, size: Sequence[int], kind: Interpolation) -> Tensor:
    """Footprint of every element on the whole grid: (ndim, R, N), (rows, R, N) -> (R, N, G)."""
    ndim = len(size)
    spreads, shapes = list(kind.spread(sigma[:ndim]).unbind()), list(sigma[ndim:].unbind())
    on_grid = (..., *[None] * ndim)
    with torch.no_grad():
        reaches = kind.reach(spreads, shapes)
    distances = []
    for axis, (position, reach) in enumerate(zip(positions.unbind(), reaches.unbind(), strict=True)):
        first, last = axis_bounds(size[axis])
        grid = torch.arange(first, last + 1, device=position.device, dtype=position.dtype)
        grid = grid.view([-1 if a == axis else 1 for a in range(ndim)])
        distances.append(grid - (position - overshoot(position, size[axis], reach))[on_grid])
    return kind.footprint(distances, [s[on_grid] for s in spreads], [x[on_grid] for x in shapes]).flatten(2)
