"""The search for the elements of a kernel."""

from dataclasses import replace

import pytest
import torch

import dcls
from dcls.element_search import RIDGE, Elements, best_weights, normal_equations, place_on_taps, search
from dcls.interpolation import get_interpolation
from dcls.kernel import construct_kernel

TAPS = torch.tensor([[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1, 2)])


def kernels_of(elements: Elements, weights: torch.Tensor, size: tuple[int, ...], interpolation: str) -> torch.Tensor:
    """(C, N, L) -> (C, L, *size), by the layer's own construction."""
    positions, sigma = elements.each(lambda part: part.unsqueeze(2))
    return torch.stack(
        [construct_kernel(w, positions, sigma, size, interpolation)[:, 0] for w in weights.mT.unsqueeze(2).unbind(1)], 1
    )


def targets() -> torch.Tensor:
    torch.manual_seed(0)
    target = torch.zeros(5, 2, 7, 9, dtype=torch.float64)
    target[:, :, 2:5, 3:7] = torch.randn(5, 2, 3, 4, dtype=torch.float64)
    return target


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_weights_in_closed_form_are_the_best_there_are(interpolation) -> None:
    kind, target = get_interpolation(interpolation), targets()
    positions = torch.rand(2, 5, 4, dtype=torch.float64) * 3 - 1.5
    sigma = torch.rand(kind.sigma_rows(2), 5, 4, dtype=torch.float64)
    elements = Elements(positions, sigma if kind.has_sigma else None)
    weights = best_weights(elements, target, kind, with_ridge=False).requires_grad_()
    rest = (kernels_of(elements, weights, (7, 9), interpolation) - target).square().sum()
    (slope,) = torch.autograd.grad(rest, weights)
    assert slope.abs().max() < 1e-9


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_gram_matrices_are_those_of_dense_footprints(interpolation) -> None:
    kind, target = get_interpolation(interpolation), targets()
    positions = torch.rand(2, 5, 4, dtype=torch.float64) * 3 - 1.5
    sigma = torch.rand(kind.sigma_rows(2), 5, 4, dtype=torch.float64)
    elements = Elements(positions, sigma if kind.has_sigma else None)
    without_mass = replace(kind, normalized=False)
    masses = best_weights(elements, target, kind, with_ridge=False) / best_weights(
        elements, target, without_mass, with_ridge=False
    )
    single = torch.eye(4, dtype=torch.float64) * masses[:, :, :1]
    dense = kernels_of(elements, single, (7, 9), interpolation).flatten(2)  # (C, N, pixels)
    gram, product_with = normal_equations(elements, target, kind)
    torch.testing.assert_close(gram, dense @ dense.mT)
    torch.testing.assert_close(product_with, dense @ target.flatten(2).mT)


def test_elements_on_taps_come_first_and_others_nearby() -> None:
    target, kind = targets(), get_interpolation("bilinear")
    positions = place_on_taps(TAPS, 14, target, kind).positions
    assert positions.shape == (2, 5, 14)
    assert torch.equal(positions[:, 3, :12].mT.long(), TAPS)
    assert positions[:, 0, 12:].mT.tolist() == [[-2, 0], [-2, 1]]
    everywhere = place_on_taps(TAPS, 7 * 9 + 3, target, kind).positions[:, 0].mT
    assert len(everywhere.unique(dim=0)) == 7 * 9
    weights = best_weights(place_on_taps(TAPS, 7 * 9 + 3, target, kind), target, kind, with_ridge=False)
    kernels = kernels_of(place_on_taps(TAPS, 7 * 9 + 3, target, kind), weights, (7, 9), "bilinear")
    torch.testing.assert_close(kernels, target)


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_a_search_of_more_steps_is_nearer_and_stays_inside_the_kernel(interpolation) -> None:
    kind, target = get_interpolation(interpolation), targets()
    errors = []
    for steps in (1, 60):
        found = search(target, TAPS, 5, kind, steps)
        weights = best_weights(found, target, kind, with_ridge=True)
        contributions = weights.square().sum() * RIDGE * 4
        errors.append((kernels_of(found, weights, (7, 9), interpolation) - target).square().sum() + contributions)
        assert found.positions[0].abs().max() <= 3 and found.positions[1].abs().max() <= 4
    assert errors[1] < errors[0] < target.square().sum()
