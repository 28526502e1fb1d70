"""Positions, spreads and weights with which a kernel is as near as can be to a given one."""

# Shapes: C kernels with elements of their own, L targets that share the positions of one of them, N kernel_count, T
# taps, X the length of an axis, D candidates for an element. Where a footprint is the product of one per axis, so is a
# Gram matrix, and the dense kernel of a single element is never built.

import math
from collections.abc import Callable
from functools import reduce
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from dcls.dense_construction import joint_footprint
from dcls.grid import axis_bounds
from dcls.interpolation import MASS_EPS, Interpolation
from dcls.kernel import axis_footprint

LEARNING_RATE = 0.05
"""In pixels a step at the beginning; it falls to zero as a cosine."""
RIDGE = 1e-4
"""Penalty on what an element contributes: without one, neighbors of opposite signs grow a hundredfold and cancel."""
MAX_CANDIDATES = 1024
"""As many elements are tried out; more only if there are more taps."""
_CANDIDATE_SIGMAS = (0.0, 0.25, 0.75)


class Elements(NamedTuple):
    """Positions, (ndim, C, N), and where the interpolation learns it sigma, (rows, C, N)."""

    positions: Tensor
    sigma: Tensor | None

    def each(self, function: Callable[[Tensor], Tensor]) -> "Elements":
        """Apply a function to both."""
        return Elements(function(self.positions), None if self.sigma is None else function(self.sigma))

    def joined_with(self, other: "Elements") -> "Elements":
        """Append the elements of other kernels."""
        sigma = None if self.sigma is None or other.sigma is None else torch.cat([self.sigma, other.sigma], 1)
        return Elements(torch.cat([self.positions, other.positions], 1), sigma)

    def halves(self) -> tuple["Elements", "Elements"]:
        """Undo ``joined_with`` where both had equally many."""
        half = self.positions.shape[1] // 2
        return self.each(lambda part: part[:, :half]), self.each(lambda part: part[:, half:])


def place_on_taps(taps: Tensor, kernel_count: int, target: Tensor, kind: Interpolation) -> Elements:
    """Put a narrow element on every tap; others go to the nearest grid points, and several to one where none is left.

    Args:
        taps: (T, ndim), offsets from the center; not more than kernel_count.
        target: (C, L, *size), for its size, dtype and device.
    """
    grid = torch.tensor(list(product(*(range(low, high + 1) for low, high in map(axis_bounds, target.shape[2:])))))
    others = grid[~(grid[:, None] == taps).all(-1).any(1)]
    others = others[(others - taps.double().mean(0)).square().sum(1).argsort(stable=True)]
    points = torch.cat([taps, others])
    points = points.repeat(math.ceil(kernel_count / len(points)), 1)[:kernel_count]
    positions = points.mT.to(target)[:, None].repeat(1, len(target), 1)
    return Elements(positions, _sigma_of(torch.zeros_like(positions), kind))


def _sigma_of(sigma: Tensor, kind: Interpolation) -> Tensor | None:
    """Add the rows of a learned shape, at its initial value, to sigma, (ndim, C, N); None without spreads."""
    if not kind.has_sigma:
        return None
    ndim = len(sigma)
    shapes = sigma.new_full((kind.sigma_rows(ndim) - ndim, *sigma.shape[1:]), kind.initial_shape)
    return torch.cat([sigma, shapes])


@torch.no_grad()
def search(target: Tensor, taps: Tensor, kernel_count: int, kind: Interpolation, steps: int) -> Elements:
    """Choose positions and spreads for the targets: the better of two starts, kernel by kernel.

    Args:
        target: (C, L, *size).
        taps: (T, ndim), where targets may differ from zero, as offsets from the center.
        steps: Of the descent from each start.
    """
    norm = target.flatten(1).norm(dim=1).clamp_min(torch.finfo(target.dtype).tiny)
    target = target / norm.reshape(-1, *[1] * (target.ndim - 1))
    coarse, fine = [
        _choose(target, _candidates(taps, kind, finely=finely), kernel_count, kind) for finely in (False, True)
    ]
    found, objectives = _descend(coarse.joined_with(fine), torch.cat([target, target]), kind, steps)
    coarse, fine = found.halves()
    coarse_objective, fine_objective = objectives.chunk(2)
    return _where(fine_objective < coarse_objective, fine, coarse)


def best_weights(elements: Elements, target: Tensor, kind: Interpolation, *, with_ridge: bool) -> Tensor:
    """Return the weights that bring a kernel nearest to its targets, (C, N, L), in closed form.

    Args:
        with_ridge: Whether the elements were searched for, with the penalty.
    """
    gram, product_with = normal_equations(elements, target, kind)
    if with_ridge:
        weight = _solve(_add_ridge(gram), product_with)
    elif gram.shape[-1] > target[0, 0].numel():  # several elements on one grid point
        weight = torch.linalg.pinv(gram, hermitian=True) @ product_with
    else:
        weight = _solve(gram, product_with)
    if kind.normalized:
        masses = [footprint.sum(-1) for footprint in _footprints(elements, target, kind)]
        weight = weight * (reduce(torch.mul, masses) + MASS_EPS)[..., None]
    return weight


def normal_equations(elements: Elements, target: Tensor, kind: Interpolation) -> tuple[Tensor, Tensor]:
    """Return the footprints' Gram matrices, (C, N, N), and their products with the targets, (C, N, L)."""
    footprints = _footprints(elements, target, kind)
    target = target if kind.factorizes else target.flatten(2)
    gram = reduce(torch.mul, [footprint @ footprint.mT for footprint in footprints])
    *leading, last = [footprint.expand(len(target), -1, -1) for footprint in footprints]
    result = torch.einsum("cl...x,cnx->cl...n", target, last)
    for footprint in reversed(leading):
        result = torch.einsum("cl...xn,cnx->cl...n", result, footprint)
    return gram, result.mT


def _footprints(elements: Elements, target: Tensor, kind: Interpolation) -> list[Tensor]:
    """Return the footprints on each axis, (C, N, X), or where they do not factorize on the whole grid as one axis."""
    size = target.shape[2:]
    if not kind.factorizes:
        assert elements.sigma is not None
        return [joint_footprint(elements.positions, elements.sigma, size, kind)]
    rows: list[list[Tensor]] = [[] for _ in size]  # of sigma: those of each axis
    for index, row in enumerate([] if elements.sigma is None else elements.sigma):
        rows[index % len(rows)].append(row)
    return [axis_footprint(p, row, extent, kind) for p, row, extent in zip(elements.positions, rows, size, strict=True)]


def _candidates(taps: Tensor, kind: Interpolation, *, finely: bool) -> Elements:
    """Return single elements, (ndim, 1, D): narrow ones on the taps; finely, also wider ones and between taps."""
    points: list[tuple[float, ...]] = [tuple(tap) for tap in taps.tolist()]
    sigmas = [0.0]
    if finely:
        halves = [
            range(2 * low, 2 * high + 1) for low, high in zip(*map(Tensor.tolist, taps.aminmax(dim=0)), strict=True)
        ]
        between = {tuple(half / 2 for half in point) for point in product(*halves)}
        points += sorted(between.difference(points)) if len(between) <= MAX_CANDIDATES else []
        wanted = _CANDIDATE_SIGMAS if kind.has_sigma else (0.0,)
        sigmas = list(wanted[: max(1, MAX_CANDIDATES // len(points))])
    positions = torch.tensor(points, dtype=torch.float64).mT.repeat(1, len(sigmas))[:, None]
    sigma = torch.tensor(sigmas, dtype=torch.float64).repeat_interleave(len(points)).expand_as(positions)
    return Elements(positions, _sigma_of(sigma, kind))


def _choose(target: Tensor, candidates: Elements, kernel_count: int, kind: Interpolation) -> Elements:
    """Choose one element after another, each the one that explains most of the rest (orthogonal matching pursuit)."""
    candidates = candidates.each(lambda part: part.to(target.device))
    gram, product_with = normal_equations(candidates, target, kind)  # (1, D, D), (C, D, L)
    energy = gram[0].diagonal()
    chosen = torch.empty(len(target), 0, dtype=torch.long, device=target.device)
    rest = product_with
    for _ in range(kernel_count):
        gain = (rest.square().sum(-1) / energy).scatter(1, chosen, -1.0)
        chosen = torch.cat([chosen, gain.argmax(1, keepdim=True)], 1)
        rows = gram[0][chosen]  # (C, n, D)
        among = rows.gather(2, chosen[:, None].expand(-1, chosen.shape[1], -1))
        weight = _solve(_add_ridge(among), product_with.gather(1, chosen[..., None].expand(-1, -1, target.shape[1])))
        rest = product_with - rows.mT @ weight
    return candidates.each(lambda part: part[:, 0][:, chosen])


def _descend(start: Elements, target: Tensor, kind: Interpolation, steps: int) -> tuple[Elements, Tensor]:
    """Move elements downhill by Adam, each kernel on its own; return the best met, and their objectives, (C,)."""
    bounds = torch.tensor([axis_bounds(extent) for extent in target.shape[2:]], device=target.device)
    low, high = bounds.to(target.dtype).mT[:, :, None, None]
    now = start.each(lambda part: part.clone().requires_grad_())
    optimizer = torch.optim.Adam([part for part in now if part is not None], lr=LEARNING_RATE, eps=1e-12)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, least = start, target.new_full((len(target),), math.inf)
    for _ in range(steps + 1):
        optimizer.zero_grad()
        with torch.enable_grad():
            objective = _objective(now, target, kind)
            objective.sum().backward()
        objective = objective.detach()
        best = _where(objective < least, now.each(Tensor.detach), best)
        least = torch.minimum(objective, least)
        optimizer.step()
        schedule.step()
        now.positions.clamp_(low, high)
    return best, least


def _objective(elements: Elements, target: Tensor, kind: Interpolation) -> Tensor:
    """Return squared error plus penalty of each kernel, (C,), at the weights where this is least.

    Its derivative by these weights is zero, so that they can be taken as constants (variable projection).
    """
    gram, product_with = normal_equations(elements, target, kind)
    gram = _add_ridge(gram)
    weight = _solve(gram.detach(), product_with.detach())
    explained = (weight * (2 * product_with - gram @ weight)).sum((1, 2))
    return target.flatten(1).square().sum(1) - explained


def _add_ridge(gram: Tensor) -> Tensor:
    return gram + RIDGE * torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))


def _solve(gram: Tensor, product_with: Tensor) -> Tensor:
    """Solve regular normal equations, (C, N, N) and (C, N, L) -> (C, N, L)."""
    return torch.cholesky_solve(product_with, torch.linalg.cholesky(gram))


def _where(condition: Tensor, one: Elements, other: Elements) -> Elements:
    """Choose kernel by kernel, (C,)."""
    sigma = (
        None if one.sigma is None or other.sigma is None else torch.where(condition[:, None], one.sigma, other.sigma)
    )
    return Elements(torch.where(condition[:, None], one.positions, other.positions), sigma)
