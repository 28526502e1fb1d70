"""In evaluation a kernel is built once, and anew as soon as a parameter may have changed."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import prune

import dcls


class CountingBuilds:
    """Counts calls of a layer's ``kernel``."""

    def __init__(self, layer: dcls.DclsNd, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        build = layer.kernel

        def counted() -> Tensor:
            self.count += 1
            return build()

        monkeypatch.setattr(layer, "kernel", counted)


@pytest.fixture
def layer() -> dcls.Dcls2d:
    return dcls.Dcls2d(4, 4, 3, 7, padding="same", groups=4).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 4, 8, 8)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_built_once_for_many_batches(layer, x, monkeypatch, context) -> None:
    builds = CountingBuilds(layer, monkeypatch)
    with context():
        outputs = [layer(x) for _ in range(3)]
    assert builds.count == 1
    torch.testing.assert_close(outputs[2], layer(x))


def test_built_for_every_batch_where_gradients_flow(layer, x, monkeypatch) -> None:
    builds = CountingBuilds(layer, monkeypatch)
    for _ in range(2):
        layer(x).sum().backward()
    layer.train()
    with torch.no_grad():
        layer(x), layer(x)
    assert builds.count == 4


def in_place(layer: dcls.Dcls2d) -> None:
    with torch.no_grad():
        layer.positions.add_(1)


def through_data_then_eval(layer: dcls.Dcls2d) -> None:
    layer.weight.data.mul_(2)
    layer.eval()


def by_replacing_data(layer: dcls.Dcls2d) -> None:
    layer.sigma.data = layer.sigma.data + 1


def by_loading(layer: dcls.Dcls2d) -> None:
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})


def by_assigning(layer: dcls.Dcls2d) -> None:
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()}, assign=True)


def by_a_step(fused: bool):
    def step(layer: dcls.Dcls2d) -> None:
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
        with torch.enable_grad():
            layer(torch.randn(1, 4, 8, 8)).square().sum().backward()
        layer(torch.randn(1, 4, 8, 8))
        optimizer.step()

    return step


def through_data(layer: dcls.Dcls2d) -> None:
    """As most helpers do that swap averaged weights in and out."""
    for parameter in layer.parameters():
        parameter.data.copy_(parameter.data + 1)


def through_numpy(layer: dcls.Dcls2d) -> None:
    layer.sigma.detach().numpy()[...] += 1


def by_an_attribute(layer: dcls.Dcls2d) -> None:
    layer.sigma.zero_()
    layer.interpolation = "triangle"


def by_another_size(layer: dcls.Dcls2d) -> None:
    layer.dilated_kernel_size = (9, 5)


def by_swapping(layer: dcls.Dcls2d) -> None:
    torch.utils.swap_tensors(layer.weight, nn.Parameter(layer.weight.detach() + 1))


def by_replacing_a_parameter(layer: dcls.Dcls2d) -> None:
    layer.positions = nn.Parameter(layer.positions.detach() + 1)


def by_vectors(layer: dcls.Dcls2d) -> None:
    vector = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(vector + 1, layer.parameters())


class Half(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return 0.5 * values


def by_a_parametrization(name: str):
    def parametrize(layer: dcls.Dcls2d) -> None:
        nn.utils.parametrize.register_parametrization(layer, name, Half())
        layer(torch.randn(1, 4, 8, 8))
        layer.parametrizations[name].original.data.add_(1)

    return parametrize


def by_the_parametrization_itself(layer: dcls.Dcls2d) -> None:
    scale = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(layer, "positions", scale)
    with torch.no_grad():
        layer(torch.randn(1, 4, 8, 8))
    scale.weight.data.mul_(3)


def by_pruning(layer: dcls.Dcls2d) -> None:
    prune.random_unstructured(layer, "weight", 0.5)


def by_averaging(layer: dcls.Dcls2d) -> None:
    average = torch.optim.swa_utils.AveragedModel(layer)
    average.eval()
    with torch.no_grad():
        average(torch.randn(1, 4, 8, 8))
        for parameter in layer.parameters():
            parameter.add_(1)
    average.update_parameters(layer)
    layer.weight.data = average.module.weight.data


def by_a_cast(layer: dcls.Dcls2d) -> None:
    layer.half().float()


def by_a_move(layer: dcls.Dcls2d) -> None:
    layer.weight.data.mul_(2)
    layer.to("cpu")


CHANGES = {
    "move": by_a_move,
    "in place": in_place,
    "through data, then eval": through_data_then_eval,
    "new data": by_replacing_data,
    "load_state_dict": by_loading,
    "assign": by_assigning,
    "step": by_a_step(fused=False),
    "fused step": by_a_step(fused=True),
    "cast": by_a_cast,
    "through data": through_data,
    "through NumPy": through_numpy,
    "interpolation": by_an_attribute,
    "size": by_another_size,
    "swap": by_swapping,
    "new parameter": by_replacing_a_parameter,
    "vectors": by_vectors,
    "parametrized weight": by_a_parametrization("weight"),
    "parametrized positions": by_a_parametrization("positions"),
    "parametrized sigma": by_a_parametrization("sigma"),
    "parametrization": by_the_parametrization_itself,
    "pruning": by_pruning,
    "averaging": by_averaging,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@torch.no_grad()
def test_a_change_is_seen(layer, x, change) -> None:
    layer(x)
    change(layer)
    torch.testing.assert_close(
        layer(x), nn.functional.conv2d(x, layer.kernel(), layer.bias, padding="same", groups=4), rtol=1e-4, atol=1e-6
    )


@torch.no_grad()
def test_a_change_of_shared_positions_is_seen(x) -> None:
    layers = nn.Sequential(*(dcls.Dcls2d(4, 4, 3, 7, padding="same", groups=4) for _ in range(2))).eval()
    dcls.share_positions([layers[0], layers[1]])
    before = layers[1](x)
    layers[0].positions.add_(1)
    assert not torch.equal(layers[1](x), before)


@torch.no_grad()
def test_averaged_weights_swapped_in_and_out_by_data(x) -> None:
    layers = nn.Sequential(*(dcls.Dcls2d(4, 4, 3, 7, padding="same", groups=4) for _ in range(2))).eval()
    dcls.share_positions(list(layers))
    dcls.register_joint_construction(layers)
    own = {name: value.clone() for name, value in layers.state_dict().items()}
    averaged = {name: 0.9 * value for name, value in own.items()}
    outputs = []
    for values in (own, averaged, own):
        for name, parameter in layers.named_parameters():
            parameter.data.copy_(values[name])
        outputs.append(layers(x))
        twin = copy.deepcopy(layers)  # has kept nothing
        assert torch.equal(twin(x), outputs[-1])
    assert torch.equal(outputs[0], outputs[2]) and not torch.equal(outputs[0], outputs[1])


@torch.no_grad()
def test_a_kernel_of_a_subclass_is_never_kept(x) -> None:
    class Scaled(dcls.Dcls2d):
        scale = 1.0

        def kernel(self) -> Tensor:
            return self.scale * super().kernel()

    layer = Scaled(4, 4, 3, 7, padding="same", groups=4, bias=False).eval()
    before = layer(x)
    layer.scale = 2.0
    torch.testing.assert_close(layer(x), 2 * before)


@torch.no_grad()
def test_copies_and_pickles_start_empty(layer, x) -> None:
    size = len(pickle.dumps(layer))
    out = layer(x)
    assert len(pickle.dumps(layer)) == size
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), out)
        twin.weight.mul_(2)
        assert not torch.equal(twin(x), out) and torch.equal(layer(x), out)


def test_gradients_after_an_evaluation_in_inference_mode(layer, x) -> None:
    with torch.inference_mode():
        layer(x)
    x.requires_grad_()
    layer.requires_grad_(False)
    layer(x).sum().backward()
    assert x.grad.any()


def test_tangents_of_forward_mode_are_not_lost(x) -> None:
    layer = dcls.Dcls1d(4, 4, 3, 7).eval()
    tangents = {name: torch.ones_like(value) for name, value in layer.named_parameters()}
    with torch.no_grad():
        norms = []
        for _ in range(2):
            with forward_ad.dual_level():
                duals = {name: forward_ad.make_dual(p, tangents[name]) for name, p in layer.named_parameters()}
                out = torch.func.functional_call(layer, duals, (x[0, :, 0],))
                norms.append(forward_ad.unpack_dual(out).tangent.norm())
            layer(x[0, :, 0])  # keeps a kernel
    torch.testing.assert_close(*norms)


@torch.no_grad()
def test_on_the_meta_device(layer, x) -> None:
    layer(x)
    layer.to("meta")
    for _ in range(2):
        assert layer(x.to("meta")).shape == x.shape


def test_parameters_made_in_inference_mode(x) -> None:
    with torch.inference_mode():
        layer = dcls.Dcls2d(4, 4, 3, 7, padding="same", groups=4).eval()
        before = layer(x)
        layer.weight.mul_(2)
        assert not torch.equal(layer(x), before)
