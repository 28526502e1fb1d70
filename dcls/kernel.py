"""From a few weighted elements at real-valued positions to a dense kernel."""

# Shapes: O out channels, I in channels per group, N kernel_count, X the length of one axis of dilated_kernel_size.

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from dcls.dense_construction import construct_densely
from dcls.grid import axis_bounds, overshoot
from dcls.interpolation import MASS_EPS, Interpolation, get_interpolation


def construct_kernel(
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    dilated_kernel_size: Sequence[int],
    interpolation: str = "gaussian",
) -> Tensor:
    """Spread N weighted elements over a dense kernel.

    The definition (arXiv:2306.00817 and arXiv:2112.03740), with f the footprint of ``dcls.interpolation`` and p, s an
    element's position and spread:

        K[o, i, y, x] = sum_n  w_n f(y - p_n) g(x - p_n) / (sum_y' f(y' - p_n) * sum_x' g(x' - p_n) + 1e-7)

    without the division where the interpolation is not normalized. Values that nearly underflow (1e-31 in float32)
    become 0. Where the footprint is a product over the axes, so is the kernel: one batched matrix product, with memory
    O(N * X) a channel for 1-D and 2-D kernels. The others are built by ``dcls.dense_construction``.

    An element farther outside the kernel than its footprint can be felt acts as if it sat at the end of that reach
    (``Interpolation.reach``), and its position receives the gradient of that place, so that it can come back. Within
    reach the formula above is followed exactly.

    Args:
        weight: (O, I, N), any floating dtype; or (L, O, I, N) for L layers that share positions and spreads.
        positions: (ndim, O, I, N), offsets from the kernel's center in pixels, in the order of dilated_kernel_size.
        sigma: (ndim, O, I, N), its absolute value adds to the smallest spread, in pixels. None iff the interpolation
            has no spread. More rows follow where the interpolation has a learned shape: (ndim + ndim, ...) for
            "hyper_gaussian", (ndim + pairs of axes, ...) for "correlated_gaussian" and "rotated_gaussian".
        dilated_kernel_size: Extent of the dense kernel, 1 to 3 axes.
        interpolation: A name of ``dcls.INTERPOLATIONS``.

    Returns:
        (O, I, *dilated_kernel_size), or with L in front, in the dtype of weight; computed in float32 at least, under
        any autocast. (On CUDA the last product follows ``torch.set_float32_matmul_precision``.)

    Raises:
        ValueError: shapes disagree, the interpolation is unknown, or sigma is missing or superfluous.
    """
    kind = get_interpolation(interpolation)
    if not torch.jit.is_tracing():  # type: ignore[attr-defined]  # there every size is a tensor, and comparing it warns
        _check_shapes(weight, positions, sigma, dilated_kernel_size, kind, interpolation)
    with _without_autocast(weight.device.type):
        dtype = torch.promote_types(weight.dtype, torch.promote_types(positions.dtype, torch.float32))
        sigma = None if sigma is None else sigma.to(dtype)
        if kind.factorizes:
            kernel = _construct_by_axes(weight.to(dtype), positions.to(dtype), sigma, dilated_kernel_size, kind)
        else:
            assert sigma is not None
            kernel = construct_densely(weight.to(dtype), positions.to(dtype), sigma, dilated_kernel_size, kind)
        return _without_underflow(kernel).to(weight.dtype)


def _construct_by_axes(
    weight: Tensor, positions: Tensor, sigma: Tensor | None, size: Sequence[int], kind: Interpolation
) -> Tensor:
    """Do what ``construct_kernel`` does where the footprint is a product over the axes, all in one dtype."""
    rows: list[list[Tensor]] = [[] for _ in size]  # of sigma: those of each axis
    for index, row in enumerate([] if sigma is None else sigma.unbind()):
        rows[index % len(rows)].append(row)
    footprints = [
        axis_footprint(position, row, extent, kind)
        for position, row, extent in zip(positions.unbind(), rows, size, strict=True)
    ]
    return _combine(weight, footprints, size, kind.normalized)


def axis_footprint(position: Tensor, sigma: Sequence[Tensor], size: int, kind: Interpolation) -> Tensor:
    """Footprint of every element on one axis: (O, I, N), [] or (O, I, N) of sigma and of x, X -> (O, I, N, X)."""
    first, last = axis_bounds(size)
    spread = kind.spread(sigma[0]) if sigma else torch.full_like(position, kind.spread_floor)
    shape = sigma[1:]
    with torch.no_grad():
        reach = kind.reach(spread, *shape)
    grid = torch.arange(first, last + 1, device=position.device, dtype=position.dtype)
    distance = grid - (position - overshoot(position, size, reach)).unsqueeze(-1)
    return kind.footprint(distance, spread.unsqueeze(-1), *(x.unsqueeze(-1) for x in shape))


def _combine(weight: Tensor, footprints: list[Tensor], size: Sequence[int], normalized: bool) -> Tensor:
    """Sum over n of w_n times the outer product of its footprints; all layers of L in one matrix product a channel.

    Shapes are written with given numbers only, as those read from a tensor are computed again in a traced program.

    ([L,] O, I, N), [(O, I, N, X)] -> ([L,] O, I, *size)
    """
    if normalized:
        mass = reduce(torch.mul, [footprint.sum(-1) for footprint in footprints])
        weight = weight / (mass + MASS_EPS)
    *leading, last = footprints
    layers = weight if weight.ndim == 4 else weight.unsqueeze(0)
    rows = layers.permute(1, 2, 0, 3).contiguous().unsqueeze(-2)  # (O, I, L, 1, N)
    if leading:
        # (O, I, N, X1) or, for 3-D, (O, I, N, X1 * X2)
        outer = reduce(lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2), leading)
        rows = rows * outer.transpose(-1, -2).contiguous().unsqueeze(-3)  # (O, I, L, X1, N)
    kernel: Tensor = rows.flatten(2, 3) @ last  # (O, I, L * X1, X)
    axes = range(3, 3 + len(size))
    kernel = kernel.unflatten(-2, (-1, *size[:-1])).permute(2, 0, 1, *axes)  # (L, O, I, *size)
    return kernel if weight.ndim == 4 else kernel.squeeze(0)


def _without_underflow(kernel: Tensor) -> Tensor:
    """Set to 0 every value that is subnormal or may become so times an activation: 1e-31 and less in float32.

    The tails of Gaussians pass through these numbers, which slow a convolution down ten times on Intel's CPUs. The
    gradient passes as if nothing had changed: where a footprint has just reached 0, it still has a slope.
    """
    limits = torch.finfo(kernel.dtype)
    values = kernel.detach()
    return kernel - (values - hardshrink(values, limits.tiny / limits.eps))


def _without_autocast(device_type: str) -> AbstractContextManager[None]:
    if device_type == "meta":  # has no autocast; asking which devices have is more than torch.compile can trace
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def _check_shapes(
    weight: Tensor, positions: Tensor, sigma: Tensor | None, size: Sequence[int], kind: Interpolation, name: str
) -> None:
    if weight.ndim not in (3, 4):
        raise ValueError(
            "weight must have 3 axes (out, in per group, kernel_count), or one more in front for several layers, "
            f"got shape {tuple(weight.shape)}"
        )
    if not 1 <= len(size) <= 3 or any(extent < 1 for extent in size):
        raise ValueError(f"dilated_kernel_size must be 1 to 3 positive integers, got {tuple(size)}")
    expected = (len(size), *weight.shape[-3:])
    if tuple(positions.shape) != expected:
        raise ValueError(f"positions must have shape {expected} to match the weight, got {tuple(positions.shape)}")
    if (sigma is not None) != kind.has_sigma:
        raise ValueError(f"interpolation {name!r} {'needs' if kind.has_sigma else 'takes no'} sigma")
    expected = (kind.sigma_rows(len(size)), *weight.shape[-3:])
    if sigma is not None and tuple(sigma.shape) != expected:
        rows = "the shape of positions" if kind.shape_per is None else f"a row per axis and {kind.shape_per}"
        raise ValueError(f"sigma must have {rows}, {expected}, got {tuple(sigma.shape)}")
