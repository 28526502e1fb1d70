import math

import pytest
import torch

from dcls.interpolation import INTERPOLATIONS, floor_hat, gaussian, get_interpolation, hat

DISTANCES = torch.tensor([-2.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0])


def test_footprints_are_their_formulas() -> None:
    one, wide = torch.ones(1), torch.tensor([2.5])
    assert hat(DISTANCES, one).tolist() == floor_hat(DISTANCES, one).tolist() == [0, 0, 0.75, 1, 0.5, 0, 0]
    assert hat(DISTANCES, wide).tolist() == [0.5, 1.5, 2.25, 2.5, 2, 1.5, 0.5]
    expected = [math.exp(-(d**2) / (2 * 2.5**2)) for d in DISTANCES.tolist()]
    assert gaussian(DISTANCES, wide).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_at_its_reach_an_element_still_has_mass_and_gradient(name) -> None:
    kind = INTERPOLATIONS[name]
    spread = kind.spread(torch.tensor([0.5])) if kind.has_sigma else torch.tensor([kind.spread_floor])
    position = (6 + kind.reach(spread)).requires_grad_()  # right of the last grid point
    mass = kind.footprint(torch.arange(7.0) - position, spread)
    assert mass.sum() > 1e-6
    (mass * torch.arange(7.0)).sum().backward()
    assert position.grad != 0


def test_a_spread_of_zero_can_grow() -> None:
    kind = INTERPOLATIONS["triangle"]
    sigma = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    spread = kind.spread(sigma)
    assert spread.tolist() == [1.5, 1.0, 1.5]
    spread.sum().backward()
    assert sigma.grad.tolist() == [-1, 1, 1]


def test_an_unknown_name_is_named() -> None:
    assert get_interpolation("gaussian") is INTERPOLATIONS["gaussian"]
    with pytest.raises(
        ValueError, match="unknown interpolation 'sinc', expected one of: bilinear, bilinear_unnormalized"
    ):
        get_interpolation("sinc")
