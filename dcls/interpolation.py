"""How one kernel element spreads over the grid points of one axis.

An element's footprint on a kernel of any dimension is the product of one function per axis, so one axis is all that
is defined here. A new interpolation is one function and one entry of ``INTERPOLATIONS``.

Notation: d, the distance (grid point - position) in pixels; s, the spread (``spread_floor + |sigma|``) in pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Guards the division by an element's mass; the value is the paper's.
MASS_EPS = 1e-7


@dataclass(frozen=True)
class Interpolation:
    """One row of the table of interpolations.

    Attributes:
        footprint: (d, s) -> weight of the grid points at distance d; d is (..., X), s is (..., 1).
        reach: s -> how many pixels outside the kernel an element still has usable mass and gradient. Farther out it
            acts as if it sat there, see ``dcls.kernel.construct_kernel``.
        spread_floor: Smallest spread in pixels.
        has_sigma: Whether the spread is learned, as ``spread_floor + |sigma|``; else it is the floor.
        initial_sigma: Initial value of sigma, in pixels.
        normalized: Divide each element's footprint by its sum, so that it keeps its full weight near the border.
    """

    footprint: Callable[[Tensor, Tensor], Tensor]
    reach: Callable[[Tensor], Tensor]
    spread_floor: float
    has_sigma: bool = False
    initial_sigma: float = 0.0
    normalized: bool = True

    def spread(self, sigma: Tensor) -> Tensor:
        """Effective spread s = floor + |sigma|, in pixels.

        The derivative at sigma = 0 is +1 and not 0 as for ``Tensor.abs``: a triangle starts at sigma = 0 and would
        never leave it.
        """
        return self.spread_floor + torch.where(sigma < 0, -sigma, sigma)


def hat(d: Tensor, s: Tensor) -> Tensor:
    """max(0, s - |d|), the triangle (Λ) of half-width s.

    ``torch.maximum`` splits the gradient at a tie, which gives the central derivative where the hat touches zero.
    ``relu`` would give 0 there, and an element on an integer position, or clamped to the border, could never move.
    """
    height = s - d.abs()
    return torch.maximum(height, torch.zeros_like(height))


def floor_hat(d: Tensor, _: Tensor) -> Tensor:
    """max(0, 1 - |d|), with the derivative from the right in the position, as splitting it into floor and rest gives.

    On the last grid point the derivative is the one from the left: to the right there is nothing but less mass, and an
    element clamped to that border would not know of the grid points it could go back to.
    """
    on_last = d[..., -1:] == 0
    is_rising = torch.where(on_last, d < 0, d <= 0)
    has_mass = torch.where(on_last, (d >= -1) & (d < 1), (d > -1) & (d <= 1))
    return torch.where(has_mass, torch.where(is_rising, 1 + d, 1 - d), 0.0)


def gaussian(d: Tensor, s: Tensor) -> Tensor:
    """exp(-d² / 2s²), by the power of two: on CPUs ``torch.exp`` is ten times slower where it underflows."""
    scaled = d * (math.sqrt(0.5 * math.log2(math.e)) / s)
    return torch.exp2(-(scaled * scaled))


def hat_reach(s: Tensor) -> Tensor:
    """Up to where the last but one grid point is touched; from there on the normalized kernel would not change."""
    return s - 1.0


def floor_hat_reach(s: Tensor) -> Tensor:
    """Just before the mass, which is not normalized, is gone."""
    return torch.full_like(s, 0.99)


def gaussian_reach(s: Tensor) -> Tensor:
    """Where 1e-5 of the height is left: farther out the mass is lost in MASS_EPS, and the gradient with it."""
    return 4.8 * s


INTERPOLATIONS: dict[str, Interpolation] = {
    "bilinear": Interpolation(hat, hat_reach, spread_floor=1.0),
    "bilinear_unnormalized": Interpolation(floor_hat, floor_hat_reach, spread_floor=1.0, normalized=False),
    "triangle": Interpolation(hat, hat_reach, spread_floor=1.0, has_sigma=True, initial_sigma=0.0),
    "gaussian": Interpolation(gaussian, gaussian_reach, spread_floor=0.27, has_sigma=True, initial_sigma=0.23),
}


def get_interpolation(name: str) -> Interpolation:
    """Look an interpolation up by name.

    Raises:
        ValueError: no such name.
    """
    if not isinstance(name, str) or name not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {name!r}, expected one of: {', '.join(INTERPOLATIONS)}")
    return INTERPOLATIONS[name]
