import pytest
import torch
from safetensors.torch import load_model, save_model
from shared_pair import SharedPair
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

import dcls


class Inside(nn.Module):
    """Keeps positions within some pixels."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.limit * torch.tanh(values / self.limit)


class Doubled(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values

    def right_inverse(self, positions: torch.Tensor) -> torch.Tensor:
        return positions / 2


def test_a_shared_set_stands_once_in_parameters_and_state_dict() -> None:
    model = SharedPair()
    assert set(model.state_dict()) == {
        "first.weight", "first.bias", "first.shared.positions", "first.shared.sigma", "second.weight", "second.bias",
    }  # fmt: skip
    assert model.first.positions is model.second.positions is model.first.shared.positions
    assert "shared positions" in repr(model.first)


def test_gradients_of_all_users_add_up() -> None:
    model = SharedPair()
    x = torch.randn(1, 4, 9, 9)
    (model.first(x).square().sum() + model.second(x).square().sum()).backward()
    total = model.first.shared.positions.grad.clone()
    parts = []
    for layer in (model.first, model.second):
        model.zero_grad()
        layer(x).square().sum().backward()
        parts.append(model.first.shared.positions.grad)
    torch.testing.assert_close(total, parts[0] + parts[1])


def test_loads_that_replace_tensors_stay_shared(tmp_path) -> None:
    source, target = SharedPair(), SharedPair()
    target.load_state_dict(source.state_dict(), assign=True)
    assert target.first.positions is target.second.positions is target.first.shared.positions
    x = torch.randn(1, 4, 9, 9)
    assert torch.equal(target(x), source(x))

    with torch.device("meta"):
        empty = SharedPair()
    empty.to_empty(device="cpu").load_state_dict(source.state_dict())
    assert empty.first.positions is empty.second.positions is empty.first.shared.positions
    assert torch.equal(empty(x), source(x))


def test_meta_modules_can_be_initialized_afterwards() -> None:
    with torch.device("meta"):
        model = SharedPair()
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert torch.all(model.first.shared.sigma == torch.tensor(0.23))
    assert model.first.shared.positions.abs().max() <= 3
    assert torch.isfinite(model(torch.randn(1, 4, 9, 9))).all()


def test_safetensors_after_channels_last(tmp_path) -> None:
    model = SharedPair().to(memory_format=torch.channels_last)
    save_model(model, str(tmp_path / "pair.safetensors"))
    other = SharedPair()
    load_model(other, str(tmp_path / "pair.safetensors"))
    x = torch.randn(1, 4, 9, 9)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    # The two memory formats of the weights may be summed in another order.
    torch.testing.assert_close(other(x), model(x))


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "float"])
def test_casts_keep_positions_at_float32_or_better_with_their_gradients(cast) -> None:
    model = SharedPair()
    model(torch.randn(1, 4, 9, 9)).sum().backward()
    getattr(model, cast)()
    expected = torch.float64 if cast == "double" else torch.float32
    for parameter in (model.first.shared.positions, model.first.shared.sigma):
        assert parameter.dtype == parameter.grad.dtype == expected
    assert model.first.weight.dtype == {"half": torch.float16, "bfloat16": torch.bfloat16}.get(cast, expected)


def test_layers_that_do_not_match_are_refused() -> None:
    first = dcls.Dcls2d(4, 4, 3, 7, groups=4)
    with pytest.raises(ValueError, match="agree in dilated_kernel_size"):
        dcls.share_positions([first, dcls.Dcls2d(4, 4, 3, 9, groups=4)])
    with pytest.raises(ValueError, match="agree in interpolation"):
        dcls.share_positions([first, dcls.Dcls2d(4, 4, 3, 7, groups=4, interpolation="bilinear")])
    with pytest.raises(ValueError, match="channels, groups and kernel_count"):
        dcls.share_positions([first, dcls.Dcls2d(4, 4, 5, 7, groups=4)])
    dcls.share_positions([first])
    with pytest.raises(ValueError, match="shares positions already"):
        dcls.share_positions([first])
    with pytest.raises(ValueError, match="at least one layer"):
        dcls.share_positions([])
    layer = dcls.Dcls2d(4, 4, 3, 7, groups=4)
    register_parametrization(layer, "positions", Doubled())
    with pytest.raises(ValueError, match="parametrize what share_positions returns"):
        dcls.share_positions([layer])


def test_initial_positions_follow_their_distribution() -> None:
    def positions(**options):
        layer = dcls.Dcls2d(16, 64, 8, (25, 11), padding="same", **options)
        return layer.positions.detach()

    rows, columns = positions(initial_positions="uniform")
    assert -12 <= rows.min() < -11.5 and 11.5 < rows.max() <= 12 and abs(rows.mean()) < 0.5
    assert -5 <= columns.min() < -4.5 and 4.5 < columns.max() <= 5
    rows, columns = positions(initial_positions="half_normal", position_limits=[(-12, 12), (-5, 0)])
    assert rows.max() <= 12 and (12 - rows).median() == pytest.approx(12 * 0.6745, rel=0.1)
    assert columns.max() <= 0 and columns.min() == -5, "the few beyond the limit are on it"


def test_limits_hold_positions_and_are_shared() -> None:
    layers = [dcls.Dcls1d(2, 2, 3, 25, position_limits=(2.5, 12)) for _ in range(2)]
    assert layers[0].positions.min() >= 2.5
    shared = dcls.share_positions(layers)
    torch.nn.init.uniform_(shared.positions, -30, 30)
    dcls.clamp_positions(layers[0])
    assert shared.positions.min() >= 2.5 and shared.positions.max() <= 12
    assert "position_limits=((2.5, 12.0),)" in repr(layers[0])
    with pytest.raises(ValueError, match="must agree in position_limits"):
        dcls.share_positions([dcls.Dcls1d(2, 2, 3, 25, position_limits=limits) for limits in ((0, 1), (0, 2))])


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(position_limits=(-13, 0)), "within the kernel, from -12 to 12 pixels from its center, got -13 to 0"),
        (dict(position_limits=(3, 1)), "within the kernel"),
        (dict(position_limits=3), r"must be \(low, high\), or one such pair per axis"),
        (dict(position_limits=("a", "b")), r"must be \(low, high\)"),
        (dict(position_limits=[(0, 1), (0, 1)]), "one for each of 1 axes"),
        (dict(initial_positions="gamma"), "initial_positions must be one of normal, uniform, half_normal"),
    ],
)
def test_wrong_limits_and_distributions_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        dcls.Dcls1d(2, 2, 3, 25, **options)


def test_parametrized_positions_are_owned_reset_and_clamped() -> None:
    layer = dcls.Dcls2d(4, 4, 3, 7, groups=4)
    register_parametrization(layer, "positions", Doubled())
    assert layer.owns_positions and "shared" not in repr(layer)
    with torch.no_grad():
        layer.parametrizations.positions.original.fill_(9.0)
    dcls.clamp_positions(layer)
    assert torch.all(layer.positions == 3)
    layer.reset_parameters()
    assert layer.positions.abs().max() <= 3 and layer.positions.std() > 0.2


def test_what_cannot_be_clamped_is_said_once_it_leaves_the_kernel(recwarn) -> None:
    layer = dcls.Dcls2d(4, 4, 3, 7, groups=4)
    register_parametrization(layer, "positions", Inside(5.0))
    dcls.clamp_positions(layer)
    assert not recwarn.list
    with torch.no_grad():
        layer.parametrizations.positions.original.fill_(9.0)
    with pytest.warns(UserWarning, match="cannot be clamped, as their parametrization has no right_inverse"):
        dcls.clamp_positions(layer)


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_casts_keep_what_parametrized_positions_are_computed_from(cast) -> None:
    model = SharedPair()
    register_parametrization(model.first.shared, "positions", Inside(3.0))
    expected = model.second.positions.detach().clone()
    getattr(model, cast)()
    assert model.first.shared.parametrizations.positions.original.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(model.second.positions.float(), expected)


def test_a_part_that_borrows_parametrized_positions_saves_and_loads_them() -> None:
    source, target = SharedPair(), SharedPair()
    for model in (source, target):
        register_parametrization(model.first.shared, "positions", Inside(3.0))
    parts = [nn.Sequential(model.second) for model in (source, target)]
    assert "0.shared.parametrizations.positions.original" in parts[0].state_dict()
    assert sum("positions" in key for key in source.state_dict()) == 1
    parts[1].load_state_dict(parts[0].state_dict())
    torch.testing.assert_close(target.first.positions, source.first.positions)
