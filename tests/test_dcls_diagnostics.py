import itertools
import math

import pytest
import timm
import torch
from shared_pair import SharedPair
from torch import nn

import dcls
import models  # noqa: F401  registers them
from dcls import diagnostics
from dcls.diagnostics import describe, describe_model

LAYERS = {
    "1d": lambda **o: dcls.Dcls1d(2, 4, 3, 9, **o),
    "2d": lambda **o: dcls.Dcls2d(4, 4, 3, (9, 12), groups=4, **o),
    "3d": lambda **o: dcls.Dcls3d(2, 2, 3, (3, 8, 9), **o),
    "along one axis": lambda **o: dcls.Dcls2d(2, 4, 3, (3, 9), learned_axes=(1,), **o),
    "along two axes of three": lambda **o: dcls.Dcls3d(2, 2, 3, (3, 8, 9), learned_axes=(0, 2), **o),
}


@pytest.fixture(params=itertools.product(LAYERS, dcls.INTERPOLATIONS), ids="-".join)
def layer(request) -> dcls.DclsNd:
    kind, interpolation = request.param
    layer = LAYERS[kind](interpolation=interpolation)
    nn.init.normal_(layer.positions, std=3)
    if layer.sigma is not None:
        nn.init.normal_(layer.sigma, std=0.1)
    return layer


def elements(layer):
    """Every kernel's elements: their places in all axes of the kernel, computed one by one."""
    fixed = [axis for axis in range(layer.ndim) if axis not in layer.learned_axes]
    sizes = [layer.dilated_kernel_size[axis] for axis in fixed]
    for o, i in itertools.product(*map(range, layer.weight.shape[:2])):
        kernel = []
        for point in itertools.product(*map(range, sizes)):
            for n in range(layer.kernel_count):
                place = dict(
                    zip(layer.learned_axes, layer.positions[(slice(None), o, i, *point, n)].tolist(), strict=True)
                )
                place |= {axis: index - size // 2 for axis, index, size in zip(fixed, point, sizes, strict=True)}
                kernel.append([place[axis] for axis in range(layer.ndim)])
        yield kernel


def test_every_number_is_that_of_its_definition(layer) -> None:
    found = describe(layer)
    kernel = layer.kernel().detach().double()
    squared = outside = 0.0
    for index in itertools.product(*map(range, kernel.shape)):
        offset = [k - size // 2 for k, size in zip(index[2:], layer.dilated_kernel_size, strict=True)]
        mass = abs(kernel[index].item())
        squared += mass * sum(d * d for d in offset)
        outside += mass * any(abs(d) > 3 for d in offset)
    total = kernel.abs().sum().item()
    assert found.effective_radius == pytest.approx(math.sqrt(squared / total), rel=1e-4)
    assert found.mass_outside == pytest.approx(outside / total, rel=1e-4, abs=1e-6)

    left = close = count = 0
    bounds = [(-(size // 2), (size - 1) // 2) for size in layer.dilated_kernel_size]
    for places in elements(layer):
        for k, place in enumerate(places):
            left += any(not low <= p <= high for p, (low, high) in zip(place, bounds, strict=True))
            close += any(math.dist(place, other) < 0.5 for j, other in enumerate(places) if j != k)
            count += 1
    assert found.outside_kernel == pytest.approx(left / count) and left > 0
    assert found.coinciding == pytest.approx(close / count)

    if layer.sigma is None:
        assert (
            found.at_floor is found.spread_lower_quartile is found.spread_median is found.spread_upper_quartile is None
        )
    else:
        floor, sigma = dcls.INTERPOLATIONS[layer.interpolation].spread_floor, layer.sigma[: len(layer.positions)].abs()
        assert found.at_floor == pytest.approx((sigma < diagnostics.FLOOR_TOLERANCE).float().mean().item())
        quartiles = [found.spread_lower_quartile, found.spread_median, found.spread_upper_quartile]
        assert quartiles == pytest.approx(
            [floor + q.item() for q in sigma.quantile(torch.tensor([0.25, 0.5, 0.75]))], abs=0.01
        )


def test_clamped_elements_are_at_the_border_and_not_outside(layer) -> None:
    reached = [(p < low) | (p > high) for p, (low, high) in zip(layer.positions, layer.kernel_bounds, strict=True)]
    expected = torch.stack(reached).any(0).float().mean().item()
    layer.clamp_positions()
    found = describe(layer)
    assert found.outside_kernel == 0 and found.at_border == pytest.approx(expected) and expected > 0


def test_the_border_is_that_of_the_limits_and_an_axis_of_one_pixel_has_none() -> None:
    layer = dcls.Dcls2d(1, 1, 4, (1, 11), position_limits=[(0, 0), (-5, 2.3)])
    with torch.no_grad():
        layer.positions[1] = torch.tensor([-5.0, 2.3, 4.0, 0.0])
    assert describe(layer).at_border == 0.75
    with torch.no_grad():
        layer.positions[1, ..., 2] = 5.5
    found = describe(layer)
    assert (found.at_border, found.outside_kernel) == (0.5, 0.25)


def test_the_kernel_of_one_point_has_radius_zero_and_no_weight_no_mass() -> None:
    layer = dcls.Dcls2d(1, 1, 1, 23, interpolation="bilinear")
    nn.init.zeros_(layer.positions)
    assert (describe(layer).effective_radius, describe(layer).mass_outside, describe(layer).coinciding) == (0, 0, 0)
    with torch.no_grad():
        layer.positions[0] = 10
    assert (describe(layer).effective_radius, describe(layer).mass_outside) == (10, 1)
    nn.init.zeros_(layer.weight)
    assert (describe(layer).effective_radius, describe(layer).mass_outside) == (0, 0)


def test_a_set_has_all_but_mass_and_its_layers_have_it_too() -> None:
    model = SharedPair()
    nn.init.normal_(model.first.positions, std=3)
    of_set = describe(model.first.shared)
    found = describe_model(model)
    assert list(found) == ["first", "second"]
    assert found == {"first": describe(model.first), "second": describe(model.second)}
    assert of_set.effective_radius is of_set.mass_outside is None
    assert found["first"].effective_radius != found["second"].effective_radius
    assert len({(d.at_border, d.outside_kernel, d.coinciding, d.spread_median) for d in (of_set, *found.values())}) == 1
    assert describe_model(model.second).keys() == {""}  # a borrower without its owner
    assert describe_model(nn.Linear(2, 2)) == {}


def test_parametrized_positions_rounded_ones_and_low_precision_are_described() -> None:
    layer = dcls.Dcls2d(4, 4, 3, 9, groups=4)
    plain = describe(layer)

    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

        def right_inverse(self, x):
            return x / 2

    nn.utils.parametrize.register_parametrization(layer, "positions", Doubled())
    assert describe(layer) == describe_model(layer)[""] == plain
    assert describe(layer.bfloat16()).effective_radius == pytest.approx(plain.effective_radius, rel=0.01)
    with dcls.discretized(layer):
        assert describe(layer).coinciding == plain.coinciding


def test_many_kernels_are_compared_in_parts(monkeypatch) -> None:
    positions = torch.randn(2, 8, 3, 5)
    whole = diagnostics.share_coinciding(positions)
    monkeypatch.setattr(diagnostics, "_MAX_PAIRS", 60)
    assert diagnostics.share_coinciding(positions) == whole and 0 < whole < 1


def test_elements_at_rest_are_those_that_moved_by_less_than_a_hundredth_of_a_pixel() -> None:
    start = torch.randn(2, 4, 1, 5)
    now = start.clone()
    now[:, 0] += 0.005
    now[0, 1] += 0.02
    now[1, 2, 0, 0] -= 3.0
    assert diagnostics.share_at_rest(now, start.numpy()) == pytest.approx(14 / 20)


def test_describing_changes_nothing_and_draws_nothing() -> None:
    layer = dcls.Dcls2d(4, 4, 3, 9, groups=4)
    layer(torch.randn(1, 4, 9, 9)).sum().backward()
    before, random = [p.grad.clone() for p in layer.parameters()], torch.get_rng_state()
    describe(layer)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(p.grad, b) for p, b in zip(layer.parameters(), before, strict=True))


def test_a_network_of_registered_layers_with_shared_sets_is_described() -> None:
    model = timm.create_model("convnext_atto_dcls_gaussian", dims=(8, 8, 16, 16), depths=(2, 1, 1, 1))
    found = describe_model(model)
    assert list(found) == [name for name, module in model.named_modules() if isinstance(module, dcls.DclsNd)]
    assert len(found) == 5
