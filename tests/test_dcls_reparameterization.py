"""Folded models give the same outputs, in plain layers that other tools know."""

import copy

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn

import dcls
import models  # noqa: F401

MODELS = ["convnext_atto_dcls_gaussian", "convformer_xs12_dcls_gaussian"]


@pytest.fixture(params=MODELS)
def model(request) -> nn.Module:
    net = timm.create_model(request.param, num_classes=10).eval()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, dcls.DclsNd):
                layer.positions.mul_(8)  # reach out to the kernel's border
    return net


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 96, 96)


def has_dcls(model: nn.Module) -> bool:
    return any(isinstance(m, (dcls.DclsNd, dcls.SharedPositions)) for m in model.modules())


@torch.no_grad()
def test_timm_folds_a_copy(model, images) -> None:
    folded = reparameterize_model(model)
    assert has_dcls(model) and not has_dcls(folded)
    assert not any("positions" in name or "sigma" in name for name in folded.state_dict())
    torch.testing.assert_close(folded(images), model(images), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_kernels_whole_or_cropped_for_an_example(model, images) -> None:
    expected = model(images)
    whole = dcls.reparameterize(copy.deepcopy(model))
    cropped = dcls.reparameterize(copy.deepcopy(model), images)
    for folded, largest in ((whole, [23] * 4), (cropped, [23, 23, 11, 5])):
        assert not has_dcls(folded)
        kernels = [[m.weight.shape[-1] for m in stage.modules() if isinstance(m, nn.Conv2d)] for stage in folded.stages]
        assert [max(k) for k in kernels] == largest
        torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-5)
    smaller = torch.randn(1, 3, 64, 80)
    torch.testing.assert_close(cropped(smaller), model(smaller), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"cropped for inputs up to \(6, 6\), got \(8, 6\); fold the model again"):
        cropped(torch.randn(1, 3, 128, 96))


@pytest.mark.parametrize(
    "layer_type, conv_type", [(dcls.Dcls1d, nn.Conv1d), (dcls.Dcls2d, nn.Conv2d), (dcls.Dcls3d, nn.Conv3d)]
)
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(padding="same", bias=False),
        dict(stride=2, padding=1, groups=2),
        dict(padding_mode="circular", padding=2),
    ],
    ids=str,
)
def test_a_layer_becomes_its_convolution(layer_type, conv_type, options) -> None:
    layer = layer_type(4, 4, 3, 5, **options)
    x = torch.randn(2, 4, *(6,) * layer.ndim)
    folded = dcls.reparameterize(layer, x)
    assert isinstance(folded, conv_type) and folded.training
    torch.testing.assert_close(folded(x), layer(x))
    if folded.bias is not None:
        assert folded.bias is not layer.bias


@pytest.mark.parametrize(
    "padding, input_size",
    [
        ("same", (9, 7)),
        ("same", (30, 2)),
        ((3, 2), (50, 50)),
        ((22, 4), (9, 50)),
        ((15, 15), (20, 30)),
        ("valid", (60, 55)),
    ],
)
@pytest.mark.parametrize("size", [(23, 23), (24, 23), (51, 5), (16, 16)])
def test_cropping_under_any_padding(size, padding, input_size) -> None:
    if not isinstance(padding, str):  # less than the kernel
        padding = tuple(min(p, s - 1) for p, s in zip(padding, size, strict=True))
        input_size = tuple(max(i, s - 2 * p) for i, s, p in zip(input_size, size, padding, strict=True))
    layer = dcls.Dcls2d(4, 4, 9, size, padding=padding, groups=4).double()
    with torch.no_grad():
        layer.positions.mul_(20)
    x = torch.randn(2, 4, *input_size, dtype=torch.float64)
    torch.testing.assert_close(layer.fuse(input_size)(x), layer(x))


def test_cropping_twice_keeps_both_limits_and_what_does_not_fit_is_named() -> None:
    conv = dcls.Dcls2d(4, 4, 9, 23, padding="same", groups=4).fuse()
    conv.crop((5, 50))
    conv.crop((50, 5))
    assert conv.largest_input == (5, 5)
    with pytest.raises(ValueError, match=r"cropped for inputs up to \(5, 5\), got \(40, 5\)"):
        conv(torch.randn(1, 4, 40, 5))
    with pytest.raises(ValueError, match=r"the kernel \(23, 23\) is larger than an input \(9, 9\) with its padding"):
        dcls.Dcls2d(4, 4, 3, 23, groups=4).fuse((9, 9))


def test_an_axis_that_was_not_cropped_takes_any_size() -> None:
    layer = dcls.Dcls2d(4, 4, 9, 23, padding="same", groups=4)
    x = torch.randn(1, 4, 9, 200)
    torch.testing.assert_close(layer.fuse((9, 100))(x), layer(x))


def test_modes_and_frozen_parameters_stay_as_they_are() -> None:
    net = nn.Sequential(nn.BatchNorm2d(4), dcls.Dcls2d(4, 4, 3, 9, padding="same")).train()
    net[0].eval()
    net[1].weight.requires_grad_(False)
    dcls.reparameterize(net, torch.randn(1, 4, 6, 6))
    assert net.training and net[1].training and not net[0].training
    assert not net[1].weight.requires_grad and net[1].bias.requires_grad


def test_a_layer_used_under_two_names_stays_one() -> None:
    net = nn.Module()
    net.a = net.b = dcls.Dcls2d(4, 4, 3, 5)
    folded = dcls.reparameterize(net)
    assert folded.a is folded.b and isinstance(folded.a, nn.Conv2d)


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:Converting a tensor to a Python boolean")
def test_an_exported_or_traced_program_is_free_of_our_operators(model, images) -> None:
    folded = dcls.reparameterize(model, images)
    program = torch.export.export(folded, (images,))
    assert "dcls" not in program.graph_module.code
    torch.testing.assert_close(program.module()(images), folded(images), rtol=1e-4, atol=1e-5)
    traced = torch.jit.trace(folded, images)
    torch.testing.assert_close(traced(images), folded(images), rtol=1e-4, atol=1e-5)


def test_a_symbolic_trace_holds_plain_convolutions() -> None:
    net = dcls.reparameterize(nn.Sequential(dcls.Dcls2d(4, 4, 3, 9, padding="same", groups=4)))
    x = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(torch.fx.symbolic_trace(net)(x), net(x))


@torch.no_grad()
def test_onnx(model, images, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folded = dcls.reparameterize(model, images)
    path = tmp_path / "model.onnx"
    torch.onnx.export(folded, (images,), path, dynamo=True)
    session = onnxruntime.InferenceSession(path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), folded(images), rtol=1e-3, atol=1e-4)
