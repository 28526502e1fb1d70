"""Kernels of footprints that are no product over the axes: every element on the whole grid, a few kernels at a time."""

# Shapes: L layers, R kernels (out channels * in channels per group), N kernel_count, G grid points of a kernel.

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dcls.grid import axis_bounds
from dcls.interpolation import MASS_EPS, Interpolation

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
    kernels = weight.flatten(-3, -2)  # ([L,] R, N)
    step = max(1, MAX_ENTRIES // (weight.shape[-1] * prod(size)))
    groups = list(
        zip(kernels.split(step, -2), positions.flatten(1, 2).split(step, 1), sigma.flatten(1, 2).split(step, 1),
            strict=True)
    )  # fmt: skip
    if len(groups) == 1 or torch.compiler.is_exporting():  # an exported program cannot compute again
        built = [_construct_group(*group, size, kind) for group in groups]
    else:
        built = [
            checkpoint(_construct_group, *group, size, kind, use_reentrant=False, preserve_rng_state=False)
            for group in groups
        ]
    return torch.cat(built, -2).reshape(*weight.shape[:-1], *size)


def _construct_group(
    weight: Tensor, positions: Tensor, sigma: Tensor, size: Sequence[int], kind: Interpolation
) -> Tensor:
    """([L,] R, N), (ndim, R, N), (rows, R, N) -> ([L,] R, G)."""
    footprint = joint_footprint(positions, sigma, size, kind)
    weight = weight / (footprint.sum(-1) + MASS_EPS) if kind.normalized else weight
    kernel: Tensor = weight.movedim(-2, 0).reshape(footprint.shape[0], -1, footprint.shape[1]) @ footprint  # (R, L, G)
    return kernel.movedim(0, -2).reshape(*weight.shape[:-1], -1)


def joint_footprint(positions: Tensor, sigma: Tensor, size: Sequence[int], kind: Interpolation) -> Tensor:
    """Footprint of every element on the whole grid: (ndim, R, N), (rows, R, N) -> (R, N, G)."""
    ndim = len(size)
    spreads, shapes = list(kind.spread(sigma[:ndim])), list(sigma[ndim:])
    on_grid = (..., *[None] * ndim)
    with torch.no_grad():
        reaches = kind.reach(spreads, shapes)
    distances = []
    for axis, (position, reach) in enumerate(zip(positions, reaches, strict=True)):
        first, last = axis_bounds(size[axis])
        overshoot = (position - position.clamp(first - reach, last + reach)).detach()
        grid = torch.arange(first, last + 1, device=position.device, dtype=position.dtype)
        grid = grid.view([-1 if a == axis else 1 for a in range(ndim)])
        distances.append(grid - (position - overshoot)[on_grid])
    return kind.footprint(distances, [s[on_grid] for s in spreads], [x[on_grid] for x in shapes]).flatten(2)
