"""How one kernel element spreads over the grid points around it.

Most footprints are the product of one function per axis, so one axis is all that is defined of them. Those that are not
take all axes at once, see the end of this file. A new interpolation is one function, its reach, and one entry of
``INTERPOLATIONS``.

Notation: d, the distance (grid point - position) in pixels; s, the spread (``spread_floor + |sigma|``) in pixels; x, a
learned number that changes the shape of the footprint.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from dcls.transformations import is_written_down

# Guards the division by an element's mass; the value is the paper's.
MASS_EPS = 1e-7


@dataclass(frozen=True)
class Interpolation:
    """One row of the table of interpolations.

    Attributes:
        footprint: (d, s) or (d, s, x) -> weight of the grid points at distance d; d is (..., X), s and x are (..., 1).
            Of a footprint that does not factorize, each argument is a list, one tensor per axis or pair of axes.
        reach: s or (s, x) -> how many pixels outside the kernel an element still has usable mass and gradient. Farther
            out it acts as if it sat there, see ``dcls.kernel.construct_kernel``.
        spread_floor: Smallest spread in pixels.
        has_sigma: Whether the spread is learned, as ``spread_floor + |sigma|``; else it is the floor.
        initial_sigma: Initial value of sigma, in pixels.
        normalized: Divide each element's footprint by its sum, so that it keeps its full weight near the border.
        factorizes: Whether the footprint is a product over the axes. Otherwise the kernel costs N times its size.
        shape_per: What there is one x for, if any: each axis, or each pair of axes.
        initial_shape: Initial value of x.
        whiten: Of a Gaussian that does not factorize: (d, s, x) -> A d, which is normal in each axis.
    """

    footprint: Callable[..., Tensor]
    reach: Callable[..., Tensor]
    spread_floor: float
    has_sigma: bool = False
    initial_sigma: float = 0.0
    normalized: bool = True
    factorizes: bool = True
    shape_per: Literal["axis", "pair"] | None = None
    initial_shape: float = 0.0
    whiten: Callable[..., list[Tensor]] | None = None

    def sigma_rows(self, ndim: int) -> int:
        """Count the rows of sigma: one per axis, then those of x."""
        shapes = {None: 0, "axis": ndim, "pair": math.comb(ndim, 2)}[self.shape_per]
        return ndim + shapes if self.has_sigma else 0

    @torch.no_grad()
    def reset_sigma(self, sigma: Tensor, ndim: int) -> None:
        """Set sigma and x, (sigma_rows, ...), to their initial values, in place."""
        sigma[:ndim] = self.initial_sigma
        sigma[ndim:] = self.initial_shape

    def spread(self, sigma: Tensor) -> Tensor:
        """Effective spread s = floor + |sigma|, in pixels.

        The derivative at sigma = 0 is +1 and not 0 as for ``Tensor.abs``: a triangle starts at sigma = 0 and would
        never leave it.
        """
        return self.spread_floor + magnitude(sigma)

    def covariance(self, sigma: Tensor, ndim: int) -> Tensor:
        """Return s² along the axes, and what ties one axis to another, (ndim, ndim, ...) in square pixels.

        Args:
            sigma: (sigma_rows, ...), or zeros (ndim, ...) where there is none.
            ndim: Number of axes that elements move along.
        """
        spreads, shapes = self.spread(sigma[:ndim]), list(sigma[ndim:])
        if self.whiten is None:
            return torch.diag_embed(spreads.square().movedim(0, -1)).movedim((-2, -1), (0, 1))
        per_axis = list(spreads)
        columns = [torch.stack(self.whiten(unit, per_axis, shapes)) for unit in _units(per_axis)]
        whitening = torch.stack(columns, -1).movedim(0, -2)  # A, (..., ndim, ndim)
        return torch.linalg.inv_ex(whitening.mT @ whitening).inverse.movedim((-2, -1), (0, 1))


def magnitude(x: Tensor) -> Tensor:
    """|x| with derivative +1 at 0."""
    return torch.where(x < 0, -x, x)


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
    is_rising = torch.logical_or(d < 0, (d == 0) & ~on_last)
    is_at_end = torch.logical_or((d == -1) & on_last, (d == 1) & ~on_last)
    has_mass = torch.logical_or(d.abs() < 1, is_at_end)
    return torch.where(has_mass, torch.where(is_rising, 1 + d, 1 - d), 0.0)


def gaussian(d: Tensor, s: Tensor) -> Tensor:
    """exp(-d² / 2s²), by the power of two: on CPUs ``torch.exp`` is ten times slower where it underflows."""
    scaled = d * (math.sqrt(0.5 * math.log2(math.e)) / s)
    return _exp2(-(scaled * scaled))


def lorentz(d: Tensor, s: Tensor) -> Tensor:
    """1 / (1 + (d / s)²)."""
    return 1 / (1 + (d / s).square())


def hyper_gaussian(d: Tensor, s: Tensor, x: Tensor) -> Tensor:
    """exp(-|d / s|^b / 2) with the exponent b = 1 + |x|: 1 has a peak, 2 is the Gaussian, large ones are a box.

    By logarithms that are kept in range: where the footprint is 0, a power that overflows would make the gradient NaN.
    """
    power = (1 + magnitude(x)) * _log2((d / s).abs().clamp_min(1e-30))
    return _exp2(-0.5 * math.log2(math.e) * _exp2(power.clamp_max(10)))


def lanczos(d: Tensor, s: Tensor) -> Tensor:
    """sinc(d / s) sinc(d / 3s) up to 3s, with sinc(z) = sin(πz) / πz: 1 at the element, 0 at multiples of s."""
    z = d / s
    return torch.where(z.abs() < 3, _sinc(z) * _sinc(z / 3), 0.0)


def hat_reach(s: Tensor) -> Tensor:
    """Up to where the last but one grid point is touched; from there on the normalized kernel would not change."""
    return s - 1.0


def floor_hat_reach(s: Tensor) -> Tensor:
    """Just before the mass, which is not normalized, is gone."""
    return torch.full_like(s, 0.99)


def gaussian_reach(s: Tensor) -> Tensor:
    """Where 1e-5 of the height is left: farther out the mass is lost in MASS_EPS, and the gradient with it."""
    return 4.8 * s


def lorentz_reach(s: Tensor) -> Tensor:
    """Where 1e-5 of the height is left, as for the Gaussian."""
    return 316 * s


def hyper_gaussian_reach(s: Tensor, x: Tensor) -> Tensor:
    """Where 1e-5 of the height is left: |d / s|^b = 23."""
    return s * _exp2(math.log2(23) / (1 + magnitude(x)))


def lanczos_reach(s: Tensor) -> Tensor:
    """None: outside the kernel negative mass outweighs what is left, and dividing by the sum would blow it up."""
    return torch.zeros_like(s)


# Footprints that take all axes at once: d, s and x are lists, and d[a] varies along the a-th grid axis alone. Both are
# Gaussians of z = A d with a matrix A that the names say, applied one pair of axes at a time.

MAX_CORRELATION = 0.9
"""Beyond, a ridge of the smallest spread could pass between all grid points, and its mass and gradient be lost."""


def correlated_gaussian(d: Sequence[Tensor], s: Sequence[Tensor], x: Sequence[Tensor]) -> Tensor:
    """Gaussian with the spreads s and the correlations 0.9 tanh(x) of each pair of axes.

    In 2-D: exp(-(u² - 2 r u v + v²) / (2 (1 - r²))) with u and v the distances over the spreads. In 3-D the
    correlation of the last pair is the partial one, given the first axis, so that any three of them are possible.
    """
    return _normal_density(_decorrelate(d, s, x))


def correlated_gaussian_reach(s: Sequence[Tensor], x: Sequence[Tensor]) -> Tensor:
    """How far along each axis, (ndim, ...)."""
    return _joint_reach(_decorrelate, s, x)


def rotated_gaussian(d: Sequence[Tensor], s: Sequence[Tensor], x: Sequence[Tensor]) -> Tensor:
    """Gaussian whose axes, which the spreads s are along, are turned by x radians in the plane of each pair of axes."""
    return _normal_density(_rotate(d, s, x))


def rotated_gaussian_reach(s: Sequence[Tensor], x: Sequence[Tensor]) -> Tensor:
    """How far along each axis, (ndim, ...)."""
    return _joint_reach(_rotate, s, x)


def _decorrelate(d: Sequence[Tensor], s: Sequence[Tensor], x: Sequence[Tensor]) -> list[Tensor]:
    z = [distance / spread for distance, spread in zip(d, s, strict=True)]
    for (a, b), pair in zip(combinations(range(len(z)), 2), x, strict=True):
        r = MAX_CORRELATION * torch.tanh(pair)
        z[b] = (z[b] - r * z[a]) * torch.rsqrt(1 - r.square())
    return z


def _rotate(d: Sequence[Tensor], s: Sequence[Tensor], x: Sequence[Tensor]) -> list[Tensor]:
    z = list(d)
    for (a, b), angle in zip(combinations(range(len(z)), 2), x, strict=True):
        cos, sin = torch.cos(angle), torch.sin(angle)
        z[a], z[b] = cos * z[a] + sin * z[b], cos * z[b] - sin * z[a]
    return [distance / spread for distance, spread in zip(z, s, strict=True)]


def _normal_density(z: Sequence[Tensor]) -> Tensor:
    """exp(-|z|² / 2), see ``gaussian``."""
    return _exp2(-0.5 * math.log2(math.e) * sum((axis.square() for axis in z), start=torch.zeros_like(z[0])))


def _joint_reach(whiten: Callable[..., list[Tensor]], s: Sequence[Tensor], x: Sequence[Tensor]) -> Tensor:
    """As far as ``gaussian_reach`` with the spread along each axis, shared by the axes: A may add them all up."""
    lengths = [sum((z.square() for z in whiten(unit, s, x)), start=torch.zeros_like(s[0])) for unit in _units(s)]
    return 4.8 / len(s) * torch.rsqrt(torch.stack(lengths))


def _units(s: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return a step of one pixel along each axis."""
    axes = range(len(s))
    return [[torch.ones_like(s[0]) if a == b else torch.zeros_like(s[0]) for b in axes] for a in axes]


# Programs that other tools read are written with fewer functions, see ``dcls.transformations``.


def _exp2(x: Tensor) -> Tensor:
    return torch.exp(x * math.log(2)) if is_written_down() else torch.exp2(x)


def _log2(x: Tensor) -> Tensor:
    return torch.log(x) / math.log(2) if is_written_down() else torch.log2(x)


def _sinc(x: Tensor) -> Tensor:
    if not is_written_down():
        return torch.sinc(x)
    angle = torch.where(x == 0, 1.0, math.pi * x)  # a division by 0 would make the gradient NaN
    return torch.where(x == 0, 1.0, torch.sin(angle) / angle)


INTERPOLATIONS: dict[str, Interpolation] = {
    "bilinear": Interpolation(hat, hat_reach, spread_floor=1.0),
    "bilinear_unnormalized": Interpolation(floor_hat, floor_hat_reach, spread_floor=1.0, normalized=False),
    "triangle": Interpolation(hat, hat_reach, spread_floor=1.0, has_sigma=True, initial_sigma=0.0),
    "gaussian": Interpolation(gaussian, gaussian_reach, spread_floor=0.27, has_sigma=True, initial_sigma=0.23),
    "lorentz": Interpolation(lorentz, lorentz_reach, spread_floor=0.27, has_sigma=True, initial_sigma=0.23),
    "hyper_gaussian": Interpolation(
        # Half a pixel at least: a box that is narrower fits between two grid points.
        hyper_gaussian,
        hyper_gaussian_reach,
        spread_floor=0.5,
        has_sigma=True,
        shape_per="axis",
        initial_shape=1.0,
    ),
    "sinc": Interpolation(lanczos, lanczos_reach, spread_floor=1.0, has_sigma=True),
    "correlated_gaussian": Interpolation(
        correlated_gaussian,
        correlated_gaussian_reach,
        spread_floor=0.27,
        has_sigma=True,
        initial_sigma=0.23,
        factorizes=False,
        shape_per="pair",
        whiten=_decorrelate,
    ),
    "rotated_gaussian": Interpolation(
        rotated_gaussian,
        rotated_gaussian_reach,
        spread_floor=0.27,
        has_sigma=True,
        initial_sigma=0.23,
        factorizes=False,
        shape_per="pair",
        whiten=_rotate,
    ),
}


def get_interpolation(name: str) -> Interpolation:
    """Look an interpolation up by name.

    Raises:
        ValueError: no such name.
    """
    if not isinstance(name, str) or name not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {name!r}, expected one of: {', '.join(INTERPOLATIONS)}")
    return INTERPOLATIONS[name]
