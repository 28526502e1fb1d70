"""What a layer has learned, in a few numbers: how far its kernels reach, where its elements are, how wide they spread.

Distances are in pixels from the kernel's center, index ``size // 2``. Elements that move along some axes only are the
same to all of this: two of them at different grid points of the other axes are at least a pixel apart.
"""

# Shapes: O out channels, I in channels per group, N kernel_count, D learned axes; where elements are at every grid
# point of the other axes, these sizes are before N.

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dcls.conv import DclsNd
from dcls.interpolation import get_interpolation
from dcls.positions import PositionOwner

__all__ = [
    "LayerDiagnostics",
    "describe",
    "describe_elements",
    "describe_model",
    "effective_radius",
    "mass_outside",
    "mean_movement",
    "share_at_border",
    "share_at_floor",
    "share_at_rest",
    "share_coinciding",
    "share_outside_kernel",
    "spreads",
]

CENTRAL_EXTENT = 7
"""Of the dense kernels that DCLS replaces in ConvNeXt: what is outside is reach that those do not have."""
COINCIDING_DISTANCE = 0.5
BORDER_TOLERANCE = 0.01
FLOOR_TOLERANCE = 0.02
"""A smaller |sigma| counts as zero: an optimizer that pushes sigma toward 0 makes it oscillate around it."""
REST_DISTANCE = 0.01
"""An element that has moved by less stayed where it was."""
_MAX_PAIRS = 2**24


@dataclass(frozen=True)
class LayerDiagnostics:
    """A layer, or a set of positions that layers share, in a few numbers.

    Attributes:
        effective_radius: Root mean square distance of the kernels' |weight| from the center, in pixels; None for a set
            of positions, which has no weights.
        mass_outside: Share of |weight| outside the central 7 pixels of each axis; None likewise.
        at_border: Share of elements at the border of their limits, where clamping holds them.
        outside_kernel: Share of elements outside the kernel, which only happens without clamping.
        coinciding: Share of elements that are less than half a pixel from another element of the same kernel.
        at_floor: Share of spreads that are as small as they can be; None where no spread is learned.
        spread_lower_quartile: In pixels; None likewise, and so for the next two.
        spread_median: In pixels.
        spread_upper_quartile: In pixels.
    """

    effective_radius: float | None
    mass_outside: float | None
    at_border: float
    outside_kernel: float
    coinciding: float
    at_floor: float | None
    spread_lower_quartile: float | None
    spread_median: float | None
    spread_upper_quartile: float | None


@torch.no_grad()
def describe(layer: PositionOwner) -> LayerDiagnostics:
    """Describe a DCLS layer or a ``SharedPositions``.

    Examples:
        >>> layer = dcls.Dcls2d(8, 8, kernel_count=5, dilated_kernel_size=11, groups=8)
        >>> dcls.diagnostics.describe(layer).spread_median
        0.5
    """
    return _with_mass(describe_elements(layer), layer)


@torch.no_grad()
def describe_model(model: nn.Module) -> dict[str, LayerDiagnostics]:
    """Describe every DCLS layer of a model, by its name; what layers share is computed once."""
    elements: dict[int, LayerDiagnostics] = {}
    found = {}
    for name, layer in model.named_modules():
        if isinstance(layer, DclsNd):
            owner = layer.position_owner
            if id(owner) not in elements:
                elements[id(owner)] = describe_elements(owner)
            found[name] = _with_mass(elements[id(owner)], layer)
    return found


@torch.no_grad()
def describe_elements(owner: PositionOwner) -> LayerDiagnostics:
    """Describe the positions and spreads of a layer or set alone, without building its kernels."""
    positions, bounds = owner.positions.detach(), owner.kernel_bounds
    sigma, spread = _learned_part(owner), spreads(owner)
    return LayerDiagnostics(
        None,
        None,
        share_at_border(positions, owner.position_limits, bounds),
        share_outside_kernel(positions, bounds),
        share_coinciding(positions),
        None if sigma is None else share_at_floor(sigma),
        *((None, None, None) if spread is None else _quartiles(spread)),
    )


def effective_radius(kernel: Tensor) -> float:
    """Return the root mean square distance of |weight| from the center, in pixels; 0 for kernels of zeros.

    Args:
        kernel: (O, I, *size), 1 to 3 axes after the channels.
    """
    return _mean_over_mass(kernel, _offsets(kernel).square().sum(0)).sqrt().item()


def mass_outside(kernel: Tensor, extent: int = CENTRAL_EXTENT) -> float:
    """Return the share of |weight| that is more than ``extent // 2`` pixels from the center along some axis.

    Args:
        kernel: (O, I, *size), 1 to 3 axes after the channels.
        extent: Of the central box; odd.
    """
    return _mean_over_mass(kernel, (_offsets(kernel).abs() > extent // 2).any(0).float()).item()


def share_at_border(
    positions: Tensor, limits: Sequence[tuple[float, float]], bounds: Sequence[tuple[float, float]]
) -> float:
    """Return the share of elements that are at, or beyond, one of their limits, and still in the kernel.

    Args:
        positions: (D, O, I, N)
        limits: (low, high) of each learned axis. One without any room has no border.
        bounds: First and last grid point of each learned axis.
    """
    low, high = _columns(limits, positions)
    is_at_limit = (positions <= low + BORDER_TOLERANCE) | (positions >= high - BORDER_TOLERANCE)
    is_at_border = (is_at_limit & (low < high)).any(0) & ~_is_outside(positions, bounds)
    return _share(is_at_border)


def share_outside_kernel(positions: Tensor, bounds: Sequence[tuple[float, float]]) -> float:
    """Return the share of elements that are beyond the first or last grid point of some axis.

    Args:
        positions: (D, O, I, N)
        bounds: First and last grid point of each learned axis.
    """
    return _share(_is_outside(positions, bounds))


def share_coinciding(positions: Tensor) -> float:
    """Return the share of elements that are less than half a pixel from another element of the same kernel.

    Args:
        positions: (D, O, I, N)
    """
    points = positions.detach().float().flatten(1, -2).permute(1, 2, 0)  # (kernels, N, D)
    kernels_at_once = max(1, _MAX_PAIRS // points.shape[1] ** 2)
    return _share(torch.cat([_has_neighbor(some) for some in points.split(kernels_at_once)]))


def share_at_floor(sigma: Tensor) -> float:
    """Return the share of spreads that are as small as they can be, since their learned part is 0.

    Args:
        sigma: (D, O, I, N), the learned part.
    """
    return _share(sigma.detach().abs() < FLOOR_TOLERANCE)


def mean_movement(positions: Any, start: Any) -> float:
    """Return how far elements are from where they were, in pixels, on average.

    Args:
        positions: (D, O, I, N), a tensor or an array.
        start: Likewise, what they were before.
    """
    return _distances(positions, start).mean().item()


def share_at_rest(positions: Any, start: Any) -> float:
    """Return the share of elements that have moved by less than 0.01 pixels.

    Args:
        positions: (D, O, I, N), a tensor or an array.
        start: Likewise, what they were before.
    """
    return _share(_distances(positions, start) < REST_DISTANCE)


def spreads(owner: PositionOwner) -> Tensor | None:
    """Return the effective spreads, (D, O, I, N) in pixels, or None where the interpolation learns none."""
    sigma = _learned_part(owner)
    return None if sigma is None else get_interpolation(owner.interpolation).spread(sigma)


def _distances(positions: Any, start: Any) -> Tensor:
    """Return (O, I, N)."""
    now, before = (torch.as_tensor(values).detach().float().cpu() for values in (positions, start))
    return (now - before).norm(dim=0)


def _with_mass(elements: LayerDiagnostics, layer: PositionOwner) -> LayerDiagnostics:
    if not isinstance(layer, DclsNd):
        return elements
    kernel = layer.kernel()
    return replace(elements, effective_radius=effective_radius(kernel), mass_outside=mass_outside(kernel))


def _learned_part(owner: PositionOwner) -> Tensor | None:
    """Return the rows of sigma that are spreads, without those of learned shapes."""
    sigma = owner.sigma
    return None if sigma is None else sigma.detach()[: len(owner.learned_axes)]


def _mean_over_mass(kernel: Tensor, values: Tensor) -> Tensor:
    """Average values of grid points, (*size), by the |weight| of (O, I, *size) there."""
    mass = kernel.detach().float().abs().sum((0, 1))
    return (mass * values).sum() / mass.sum().clamp_min(torch.finfo(mass.dtype).tiny)


def _offsets(kernel: Tensor) -> Tensor:
    """Return where every grid point of a kernel is, (ndim, *size), in pixels from the center."""
    axes = [torch.arange(size, device=kernel.device) - size // 2 for size in kernel.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).float()


def _columns(pairs: Sequence[tuple[float, float]], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and second numbers of pairs, one an axis, each broadcastable to (D, ...)."""
    first, second = positions.new_tensor(pairs).T
    shape = (-1, *(1,) * (positions.ndim - 1))
    return first.view(shape), second.view(shape)


def _is_outside(positions: Tensor, bounds: Sequence[tuple[float, float]]) -> Tensor:
    """Return (O, I, N); what is not a number is nowhere in the kernel."""
    first, last = _columns(bounds, positions)
    return ~((positions >= first) & (positions <= last)).all(0)


def _has_neighbor(points: Tensor) -> Tensor:
    """(kernels, N, D) -> (kernels, N)."""
    # The exact mode: the matrix-product one loses half the digits for elements close to each other.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    distances.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    return (distances < COINCIDING_DISTANCE).any(-1)


def _share(is_so: Tensor) -> float:
    return is_so.float().mean().item()


def _quartiles(values: Tensor) -> list[float]:
    """Return the values below which a quarter, half and three quarters of all are."""
    ordered = values.float().flatten().sort().values  # torch.quantile takes 16 million at most
    return [ordered[round(part * (len(ordered) - 1))].item() for part in (0.25, 0.5, 0.75)]
