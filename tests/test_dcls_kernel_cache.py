"""In evaluation a kernel is built once, and anew as soon as a parameter may have changed."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

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
        layer(torch.randn(1, 4, 8, 8)).square().sum().backward()
        optimizer.step()

    return step


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
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@torch.no_grad()
def test_a_change_is_seen(layer, x, change) -> None:
    layer(x)
    with torch.enable_grad():
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
