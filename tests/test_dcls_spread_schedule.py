import pytest
import torch
from torch import nn

import dcls


def test_sigma_shrinks_by_an_equal_factor_and_stays() -> None:
    model = nn.Sequential(*(dcls.Dcls1d(2, 2, 1, 25) for _ in range(2)))
    schedule = dcls.SpreadSchedule(model, initial=12, final=0.23, steps=4)
    values = []
    for _ in range(7):
        assert all(torch.all(layer.sigma == torch.tensor(schedule.sigma)) for layer in model)
        values.append(schedule.sigma)
        schedule.step()
    factor = (0.23 / 12) ** (1 / 4)
    assert values == pytest.approx([12, 12 * factor, 12 * factor**2, 12 * factor**3, 0.23, 0.23, 0.23])


def test_scheduled_spreads_are_not_learned() -> None:
    layer = dcls.Dcls1d(2, 2, 1, 25)
    dcls.SpreadSchedule(layer, initial=12, steps=4)
    layer(torch.randn(1, 2, 30)).sum().backward()
    assert layer.sigma.grad is None and layer.positions.grad is not None
    parameters = {id(p) for group in dcls.param_groups(layer) for p in group["params"]}
    assert id(layer.positions) in parameters and id(layer.sigma) not in parameters


def test_a_run_continues_where_it_was() -> None:
    layers = [dcls.Dcls1d(2, 2, 1, 25) for _ in range(2)]
    first, second = (dcls.SpreadSchedule(layer, initial=12, steps=4) for layer in layers)
    first.step()
    second.load_state_dict(first.state_dict())
    assert torch.equal(layers[0].sigma, layers[1].sigma)


def test_the_exponent_stays() -> None:
    layer = dcls.Dcls1d(2, 2, 1, 25, interpolation="hyper_gaussian")
    dcls.SpreadSchedule(layer, initial=12, steps=4)
    assert torch.all(layer.sigma[0] == 12) and torch.all(layer.sigma[1] == 1)


@pytest.mark.parametrize(
    "numbers", [dict(initial=0, steps=4), dict(initial=1, steps=0), dict(initial=1, final=0, steps=4)]
)
def test_numbers_must_be_positive(numbers) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        dcls.SpreadSchedule(dcls.Dcls1d(2, 2, 1, 25), **numbers)


def test_a_model_without_spreads_is_refused() -> None:
    with pytest.raises(ValueError, match="Dcls1d has no DCLS layer with a spread"):
        dcls.SpreadSchedule(dcls.Dcls1d(2, 2, 1, 25, interpolation="bilinear"), 12, steps=4)
