import pytest
import torch
from safetensors.torch import load_model, save_model
from shared_pair import SharedPair

import dcls


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
