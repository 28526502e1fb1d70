"""dcls.convert: which convolutions it replaces, what stays, and what it says of the rest."""

import pytest
import timm
import torch
from timm.layers import CondConv2d
from torch import nn

import dcls
from dcls.conversion import dcls_like


class Net(nn.Module):
    """Two stages of depthwise convolutions, with a strided and a dilated one, and some that must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.first = nn.Sequential(
            nn.Conv2d(8, 8, 7, padding=3, groups=8),
            nn.ReLU(),
            nn.Conv2d(8, 8, (9, 7), padding=(4, 3), groups=8, bias=False),
        )
        self.down = nn.Conv2d(8, 16, 7, stride=2, padding=3, groups=8)
        self.second = nn.ModuleList(
            [
                nn.Conv2d(16, 16, 7, stride=2, padding=3, groups=16),
                nn.Conv2d(16, 16, 7, padding=6, dilation=2, groups=16, padding_mode="replicate"),
                nn.Conv2d(16, 16, 7, padding="same", groups=16),
                nn.Conv2d(16, 16, 3, padding=1, groups=16),
            ]
        )

    def forward(self, x):
        x = self.down(self.first(self.stem(x)))
        for layer in self.second:
            x = layer(x)
        return x


@pytest.mark.parametrize("size", [11, 13, (15, 11)])
@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_shapes_and_arguments_stay(size, interpolation) -> None:
    net, x = Net().double().eval(), torch.randn(2, 3, 64, 64, dtype=torch.float64)
    before, bias = net(x).shape, net.first[0].bias.clone()
    conversion = dcls.convert(net, dilated_kernel_size=size, kernel_count=5, interpolation=interpolation)
    assert list(conversion.replaced) == ["first.0", "first.2", "second.0", "second.1", "second.2"]
    assert conversion.skipped == {}
    assert net(x).shape == before
    assert torch.equal(net.first[0].bias, bias) and net.first[2].bias is None
    strided, dilated = net.second[0], net.second[1]
    assert (strided.stride, dilated.dilation, dilated.padding_mode) == ((2, 2), (2, 2), "replicate")
    assert all(layer.weight.dtype == torch.float64 and not layer.training for layer in conversion.replaced.values())
    assert type(net.down) is type(net.stem) is type(net.second[3]) is nn.Conv2d


def test_layers_of_a_stage_share_and_their_owner_holds_the_set() -> None:
    net = Net()
    conversion = dcls.convert(net, dilated_kernel_size=11, kernel_count=5)
    assert conversion.shared == ["first.0.shared", "second.0.shared"]
    assert net.first[0].positions is net.first[2].positions is net.first[0].shared.positions
    assert net.second[0].positions is net.second[2].positions is net.second[0].shared.positions
    names = [name for name in net.state_dict() if "positions" in name]
    assert names == ["first.0.shared.positions", "second.0.shared.positions"]
    net(torch.randn(1, 3, 64, 64)).sum().backward()
    assert net.first[0].positions.grad.abs().max() > 0 and net.second[0].sigma.grad.abs().max() > 0


def test_sharing_by_channels_and_not_at_all() -> None:
    def model() -> nn.Module:
        return nn.ModuleDict({k: nn.Conv2d(c, c, 7, padding=3, groups=c) for k, c in (("a", 4), ("b", 6), ("c", 4))})

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = model()

    def sets(share) -> int:
        holder = Holder()
        dcls.convert(holder, dilated_kernel_size=9, kernel_count=3, share=share)
        return len({id(layer.positions) for layer in holder.layers.values()})

    assert (sets("stage"), sets("channels"), sets(None)) == (3, 2, 3)


@pytest.mark.parametrize(
    "match, expected",
    [
        (9, ["first.2"]),
        (3, ["first.0", "first.2", "second.0", "second.1", "second.2", "second.3"]),
        ("second.[01]", ["second.0", "second.1"]),
        (lambda name, conv: conv.stride == (2, 2), ["stem", "down", "second.0"]),
    ],
)
def test_what_is_matched(match, expected) -> None:
    conversion = dcls.convert(Net(), dilated_kernel_size=11, kernel_count=4, match=match, share=None)
    assert list(conversion.replaced) == expected


def test_a_convolution_in_two_places_is_replaced_in_both() -> None:
    conv = nn.Conv2d(4, 4, 7, padding=3, groups=4)
    net = nn.ModuleList([nn.ModuleList([conv]), conv])
    dcls.convert(net, dilated_kernel_size=9, kernel_count=3, share=None)
    assert isinstance(net[1], dcls.Dcls2d) and net[0][0] is net[1]


class Standardized(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


def test_what_cannot_be_replaced_is_reported() -> None:
    depthwise = dict(padding=3, groups=4)
    net = nn.ModuleDict(
        {
            "plain": nn.Conv2d(4, 4, 7, **depthwise),
            "own": Standardized(4, 4, 7, **depthwise),
            "normed": nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 7, **depthwise)),
            "strided": nn.Conv2d(4, 4, 8, stride=2, **depthwise),
            "line": nn.Conv1d(4, 4, 7, **depthwise),
        }
    )
    conversion = dcls.convert(net, dilated_kernel_size=(11, 11), kernel_count=3, share=None)
    assert list(conversion.replaced) == ["plain"]
    reasons = conversion.skipped
    assert "a Standardized computes something else" in reasons["own"]
    assert "its weight is computed" in reasons["normed"]
    assert "no padding keeps its output's shape" in reasons["strided"] and "odd size" in reasons["strided"]
    assert "its kernel has 1 axes" in reasons["line"]
    assert str(conversion).count("not replaced: ") == 4


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="no convolution matches 7; Sequential has 3x3"):
        dcls.convert(nn.Sequential(nn.Conv2d(3, 3, 3)), dilated_kernel_size=9, kernel_count=3)
    with pytest.raises(ValueError, match="no convolution can be replaced:\n0: no padding"):
        dcls.convert(nn.Sequential(nn.Conv2d(3, 3, 8, stride=2, groups=3)), dilated_kernel_size=9, kernel_count=3)
    net = nn.Sequential(nn.Conv2d(3, 3, 7, groups=3, padding=3))
    with pytest.raises(ValueError, match="share='all': no module of that name"):
        dcls.convert(net, dilated_kernel_size=9, kernel_count=3, share="all")
    assert type(net[0]) is nn.Conv2d, "what is refused stays as it was"
    dcls.convert(net, dilated_kernel_size=9, kernel_count=3, share=None)
    with pytest.raises(ValueError, match="Linear cannot be replaced"):
        dcls_like(nn.Linear(3, 3), 9, 3, "gaussian")


@pytest.mark.parametrize(
    "name, match", [("convnext_atto", 7), ("efficientnet_b0", 5), ("mobilenetv3_small_050", 5), ("convmixer_768_32", 7)]
)
def test_models_of_timm_keep_their_outputs_shape_and_train(name, match) -> None:
    net = timm.create_model(name, num_classes=3)
    x = torch.randn(2, 3, 64, 64)
    dcls.convert(net, dilated_kernel_size=11, kernel_count=4, match=match)
    net(x).sum().backward()
    assert net(x).shape == (2, 3)
    assert all(owner.positions.grad is not None for owner in dcls.position_owners(net).values())


def test_new_weights_are_drawn_as_the_caller_says() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 7, groups=4), nn.Conv2d(4, 4, 7, groups=4))
    met = []
    conversion = dcls.convert(
        net, dilated_kernel_size=9, kernel_count=3, weights=lambda layer: met.append(nn.init.ones_(layer.weight))
    )
    assert [weight is layer.weight for weight, layer in zip(met, conversion.replaced.values(), strict=True)] == [
        True
    ] * 2
    assert torch.all(net[1].weight == 1)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(model=3), dict(dilated_kernel_size=0), dict(dilated_kernel_size="9"), dict(dilated_kernel_size=(9, 2.5)),
        dict(dilated_kernel_size=()), dict(dilated_kernel_size=None), dict(kernel_count=(3, 1)), dict(kernel_count=True),
        dict(interpolation=None), dict(interpolation="cubic"), dict(match=None), dict(match=7.5), dict(match=["a"]),
        dict(share=True), dict(share=3), dict(weights=1),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_argument_is_named_and_nothing_converted(wrong) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 7, padding=3, groups=4))
    arguments = dict(model=model, dilated_kernel_size=9, kernel_count=3) | wrong
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dcls.convert(**arguments)
    assert type(model[0]) is nn.Conv2d


def test_a_convolution_on_its_own_is_told_where_to_go() -> None:
    with pytest.raises(ValueError, match=r"model is a Conv1d, .* use nn.Sequential\(model\)"):
        dcls.convert(nn.Conv1d(3, 3, 3), dilated_kernel_size=9, kernel_count=3, match="*")


def test_what_looks_like_a_convolution_is_reported() -> None:
    net = nn.Sequential(CondConv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1))
    conversion = dcls.convert(net, dilated_kernel_size=5, kernel_count=3, match="*")
    assert list(conversion.replaced) == ["2"]
    assert "not replaced: 0: a CondConv2d is no nn.Conv1d, nn.Conv2d or nn.Conv3d" in str(conversion)
    assert "not replaced: 1: a ConvTranspose2d is no" in str(conversion)


def test_many_layers_with_one_reason_are_one_line() -> None:
    net = nn.Sequential(*(nn.Conv2d(4, 4, 8, stride=2) for _ in range(30)))
    with pytest.raises(ValueError, match="0, 1, 2 and 27 more: no padding keeps") as caught:
        dcls.convert(net, dilated_kernel_size=9, kernel_count=3, match="*")
    assert len(str(caught.value)) < 400
