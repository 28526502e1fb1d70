import math

import pytest
import torch

import dcls
from dcls.interpolation import (
    INTERPOLATIONS,
    floor_hat,
    gaussian,
    get_interpolation,
    hat,
    hyper_gaussian,
    lanczos,
    lorentz,
)

DISTANCES = torch.tensor([-2.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0])


def test_footprints_are_their_formulas() -> None:
    one, wide = torch.ones(1), torch.tensor([2.5])
    assert hat(DISTANCES, one).tolist() == floor_hat(DISTANCES, one).tolist() == [0, 0, 0.75, 1, 0.5, 0, 0]
    assert hat(DISTANCES, wide).tolist() == [0.5, 1.5, 2.25, 2.5, 2, 1.5, 0.5]
    expected = [math.exp(-(d**2) / (2 * 2.5**2)) for d in DISTANCES.tolist()]
    assert gaussian(DISTANCES, wide).tolist() == pytest.approx(expected)
    assert hyper_gaussian(DISTANCES, wide, one).tolist() == pytest.approx(expected)  # exponent 2
    assert lorentz(DISTANCES, 2 * one).tolist() == pytest.approx([0.5, 0.8, 64 / 65, 1, 16 / 17, 0.8, 0.5])
    assert lanczos(DISTANCES, one).tolist() == pytest.approx([0, 0, 0.890067, 1, 0.607927, 0, 0], abs=1e-6)


@pytest.mark.parametrize("name", [name for name, kind in INTERPOLATIONS.items() if kind.factorizes])
@pytest.mark.parametrize("shape", [0.0, 1.0, 7.0])
def test_at_its_reach_an_element_still_has_mass_and_gradient(name, shape) -> None:
    kind = INTERPOLATIONS[name]
    spread = kind.spread(torch.tensor([0.5])) if kind.has_sigma else torch.tensor([kind.spread_floor])
    x = [torch.tensor([shape])] if kind.shape_per else []
    position = (6 + kind.reach(spread, *x)).requires_grad_()  # right of the last grid point
    mass = kind.footprint(torch.arange(7.0) - position, spread, *x)
    assert mass.sum() > 1e-6
    (mass * torch.arange(7.0)).sum().backward()
    assert position.grad != 0


@pytest.mark.parametrize("name", [name for name, kind in INTERPOLATIONS.items() if not kind.factorizes])
@pytest.mark.parametrize("shape", [-2.0, 0.0, 0.6, 5.0])
@pytest.mark.parametrize("corner", [(1, 1), (1, -1), (1, 0)])
@pytest.mark.parametrize("size", [(7, 7), (1, 7)])
def test_at_its_reach_a_joint_footprint_still_has_mass_and_gradient(name, shape, corner, size) -> None:
    kind = INTERPOLATIONS[name]
    spread, x = [torch.tensor(0.4), torch.tensor(1.5)], [torch.tensor(shape)]
    reach = kind.reach(spread, x)
    last = torch.tensor([extent // 2 for extent in size])
    position = (torch.tensor(corner) * (last + reach)).requires_grad_()
    rows, columns = (torch.arange(-(extent // 2), extent // 2 + 1.0) for extent in size)
    mass = kind.footprint([(rows - position[0])[:, None], columns - position[1]], spread, x)
    assert mass.sum() > 1e-6
    (mass * rows[:, None] + mass * columns).sum().backward()
    assert position.grad.abs().max() > 0


def test_the_exponent_of_a_hyper_gaussian_never_makes_a_gradient_nan() -> None:
    d = torch.tensor([0.0, 1e-30, 0.5, 60.0, 1e4], requires_grad=True)
    for exponent in (0.0, 1.0, 50.0, 1e4):
        x = torch.tensor([exponent], requires_grad=True)
        spread = torch.tensor([0.5], requires_grad=True)
        values = hyper_gaussian(d, spread, x)
        assert values[0] == 1 and values[-1] == 0
        gradients = torch.autograd.grad(values.sum(), [d, spread, x])
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_shapes_start_as_the_gaussian() -> None:
    for name in ("hyper_gaussian", "correlated_gaussian", "rotated_gaussian"):
        layer = dcls.Dcls2d(2, 2, 3, 7, interpolation=name)
        sigma = torch.full_like(layer.positions, 0.23)  # s = 0.5
        expected = dcls.construct_kernel(layer.weight, layer.positions, sigma, (7, 7), "gaussian")
        torch.testing.assert_close(layer.kernel(), expected)


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
        ValueError, match="unknown interpolation 'spline', expected one of: bilinear, bilinear_unnormalized"
    ):
        get_interpolation("spline")
