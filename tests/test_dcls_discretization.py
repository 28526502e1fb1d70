import pytest
import torch
from shared_pair import SharedPair
from torch import nn

import dcls

LAYERS = {
    1: lambda **o: dcls.Dcls1d(3, 4, 2, 8, **o),
    2: lambda **o: dcls.Dcls2d(3, 4, 2, (5, 8), **o),
    3: lambda **o: dcls.Dcls3d(3, 4, 2, (3, 4, 5), **o),
}


@pytest.mark.parametrize("ndim", LAYERS)
@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_every_element_is_exactly_one_grid_point(ndim, interpolation) -> None:
    layer = LAYERS[ndim](interpolation=interpolation)
    nn.init.uniform_(layer.positions, -6, 6)  # some are outside the kernel
    expected = torch.zeros(4, 3, *layer.dilated_kernel_size)
    for o, i, n in torch.cartesian_prod(torch.arange(4), torch.arange(3), torch.arange(2)).tolist():
        position = layer.positions[:, o, i, n].detach().round().int()
        point = [
            min(max(p + size // 2, 0), size - 1)
            for p, size in zip(position.tolist(), layer.dilated_kernel_size, strict=True)
        ]
        expected[(o, i, *point)] += layer.weight[o, i, n].detach()
    real = layer.kernel()
    with dcls.discretized(layer):
        assert torch.equal(layer.kernel(), expected)
    assert torch.equal(layer.kernel(), real)


def test_a_model_is_discretized_in_evaluation_and_back() -> None:
    model = SharedPair().eval()
    nn.init.uniform_(model.first.positions, -2, 2)
    x = torch.randn(1, 4, 9, 9)
    with torch.no_grad():
        real = model(x)
        with dcls.discretized(model):
            rounded = model(x)
            model.first.discretize(False)
        assert not model.first.discrete and not model.second.discrete
        assert torch.equal(model(x), real) and not torch.allclose(rounded, real)
        model.first.positions.round_()
        model.first.sigma.zero_()  # 0.27 is still no one-hot kernel
        assert not torch.equal(model(x), rounded)


def test_a_failure_inside_ends_it_too() -> None:
    layer = LAYERS[1]()
    with pytest.raises(RuntimeError), dcls.discretized(layer):
        raise RuntimeError
    assert not layer.discrete


def test_a_discrete_layer_says_so_and_folds_as_it_is() -> None:
    layer = LAYERS[1](padding="causal").discretize()
    assert "discrete=True" in repr(layer)
    conv = layer.fuse()
    assert torch.equal(conv[1].weight, layer.kernel())
    x = torch.randn(2, 3, 20)
    torch.testing.assert_close(conv(x), layer(x))


def test_weights_learn_and_positions_rest() -> None:
    layer = LAYERS[1](padding="causal").discretize()
    layer(torch.randn(2, 3, 20)).square().sum().backward()
    assert layer.weight.grad.abs().sum() > 0
    assert layer.sigma.grad is None and not layer.positions.grad.any()


def test_layers_of_a_set_may_differ_in_it() -> None:
    model = SharedPair()
    nn.init.uniform_(model.first.positions, -2, 2)
    model.second.discretize()
    handle = dcls.register_joint_construction(model)
    x = torch.randn(1, 4, 9, 9)
    together = model(x)
    handle.remove()
    torch.testing.assert_close(together, model(x))
