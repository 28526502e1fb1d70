"""What users of the reference package bring along computes the same here: outputs and all gradients, in float64."""

import copy
import warnings

import pytest
import torch
from torch import nn

import dcls
from dcls.reference_package import VERSIONS
from parity.reference import reference

SIZES = {1: [9, 8], 2: [(7, 7), (8, 8), (5, 9)], 3: [(5, 5, 5), (3, 5, 4)]}
KINDS = [(ndim, size) for ndim, sizes in SIZES.items() for size in sizes]
GRID_KINDS = [
    ("Dcls3_1d", dict(dense_kernel_size=(2, 3), dilated_kernel_size=9), 3),
    ("Dcls2dK1d", dict(dilated_kernel_size=9, flat_dim=0), 2),
    ("Dcls2dK1d", dict(dilated_kernel_size=9, flat_dim=1), 2),
]


def make(kind: str, *, seed: int = 0, spread: float = 0.5, **options):
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = getattr(reference, kind)(4, 6, 3, groups=2, **options).double()
    with torch.no_grad():
        sizes = layer.dilated_kernel_size
        for theirs, ours in enumerate(order_of(len(sizes), layer.version)):
            # Inside the kernel, counted from the center that the reference takes from the axis of its own order.
            layer.P[theirs].uniform_(0.1 - sizes[theirs] // 2, sizes[ours] - 1.1 - sizes[theirs] // 2)
        if layer.SIG is not None:
            layer.SIG.normal_(std=spread)
    return layer


def run(layer, x):
    layer.zero_grad()
    output = layer(x)
    output.backward(torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output))
    return output.detach()


def assert_equal_layers(theirs, ours, order, x) -> None:
    torch.testing.assert_close(run(ours, x), run(theirs, x))
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad.reshape(ours.weight.shape))
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
    torch.testing.assert_close(ours.positions.grad, theirs.P.grad[order].reshape(ours.positions.shape))
    if theirs.SIG is not None:
        torch.testing.assert_close(ours.sigma.grad, theirs.SIG.grad[order].reshape(ours.sigma.shape))


def order_of(ndim: int, version: str) -> list[int]:
    """As found by running the reference."""
    return {1: [0], 2: [0, 1] if version == "v0" else [1, 0], 3: [0, 2, 1] if version == "v0" else [2, 1, 0]}[ndim]


@pytest.mark.parametrize("version", VERSIONS.values())
@pytest.mark.parametrize("ndim, size", KINDS)
def test_a_layer_and_its_state_dict(ndim, size, version) -> None:
    theirs = make(f"Dcls{ndim}d", dilated_kernel_size=size, padding=2, stride=2, version=version)
    ours = dcls.from_reference(theirs)
    x = torch.randn(2, 4, *(9,) * ndim, dtype=torch.float64)
    assert_equal_layers(theirs, ours, order_of(ndim, version), x)

    other = copy.deepcopy(ours)
    other.reset_parameters()
    other.load_state_dict(dcls.from_reference(theirs.state_dict(), other))
    assert torch.equal(other(x), ours(x))


@pytest.mark.parametrize("version", ["v1", "max", "gauss"])
@pytest.mark.parametrize("kind, options, ndim", GRID_KINDS)
def test_a_layer_along_some_axes(kind, options, ndim, version) -> None:
    theirs = make(kind, version=version, padding_mode="circular", padding=1, **options)
    ours = dcls.from_reference(theirs)
    x = torch.randn(2, 4, *(10,) * ndim, dtype=torch.float64)
    assert_equal_layers(theirs, ours, [0], x)
    other = copy.deepcopy(ours)
    other.reset_parameters()
    other.load_state_dict(dcls.from_reference(theirs.state_dict(), other))
    assert torch.equal(other(x), ours(x))


def test_the_wider_spread_of_its_2_1d() -> None:
    """The package on PyPI has no Dcls2_1d; this is its definition: Dcls3_1d's, with one dense axis and s = 1 + |SIG|."""

    theirs = make("Dcls3_1d", dense_kernel_size=(1, 3), dilated_kernel_size=9)
    x = torch.randn(2, 4, 1, 10, 12, dtype=torch.float64)
    ours = dcls.Dcls2d(4, 6, 3, (3, 9), groups=2, learned_axes=(1,), dtype=torch.float64)
    state = {name: value for name, value in theirs.state_dict().items()}
    state |= {"weight": state["weight"].squeeze(2), "P": state["P"].squeeze(3), "SIG": state["SIG"].squeeze(3)}
    ours.load_state_dict(dcls.from_reference(state, ours))
    with torch.no_grad():
        theirs.SIG.copy_(theirs.SIG.abs() + 0.73)
    torch.testing.assert_close(ours(x.squeeze(2)), theirs(x).squeeze(2))


class TheirNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (make("Dcls2d", seed=i, dilated_kernel_size=7, padding=3) for i in range(2))
        self.mix = nn.Conv2d(6, 4, 1).double()
        self.second.P, self.second.SIG = self.first.P, self.first.SIG
        self.first.SIG.requires_grad_(False)
        self.again = self.first

    def forward(self, x):
        return self.second(self.mix(self.again(x)))


def test_a_network_keeps_what_it_shares_freezes_and_reuses() -> None:
    theirs = TheirNetwork().eval()
    state = theirs.state_dict()
    x = torch.randn(1, 4, 9, 9, dtype=torch.float64)
    expected = theirs(x).detach()
    ours = dcls.from_reference(copy.deepcopy(theirs))
    torch.testing.assert_close(ours(x), expected)
    assert ours.again is ours.first and ours.first.positions is ours.second.positions
    assert not ours.first.sigma.requires_grad and ours.first.positions.requires_grad
    assert not any(module.training for module in ours.modules())

    other = dcls.from_reference(TheirNetwork())
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(dcls.from_reference(state, other))
    torch.testing.assert_close(other(x), expected)

    state["second.P"] = state["second.P"] + 1
    with pytest.raises(ValueError, match="second shares its positions in the model, but has its own in the state dict"):
        dcls.from_reference(state, other)


def test_what_does_not_fit_is_named() -> None:
    theirs = make("Dcls1d", dilated_kernel_size=9)
    state = theirs.state_dict()
    with pytest.raises(ValueError, match="needs model"):
        dcls.from_reference(state)
    with pytest.raises(ValueError, match="model is for a state dict"):
        dcls.from_reference(theirs, theirs)
    with pytest.raises(ValueError, match="Linear has no layer of the reference package"):
        dcls.from_reference(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="Linear has no DCLS layer"):
        dcls.from_reference(state, nn.Linear(2, 2))
    with pytest.raises(ValueError, match="has a SIG, but the layer is 'bilinear'"):
        dcls.from_reference(state, dcls.Dcls1d(4, 6, 3, 9, groups=2, interpolation="bilinear"))
    with pytest.raises(ValueError, match=r"weight has shape \(6, 2, 3\), the layer needs \(6, 2, 4\)"):
        dcls.from_reference(state, dcls.Dcls1d(4, 6, 4, 9, groups=2))
    theirs.version = "v2"
    with pytest.raises(ValueError, match="version 'v2' has no counterpart"):
        dcls.from_reference(theirs)
