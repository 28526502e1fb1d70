import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shared_pair import SharedPair
from torch import nn

import dcls

LAYERS = {
    1: (dcls.Dcls1d, nn.Conv1d, F.conv1d),
    2: (dcls.Dcls2d, nn.Conv2d, F.conv2d),
    3: (dcls.Dcls3d, nn.Conv3d, F.conv3d),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("ndim", LAYERS)
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(stride=2, padding=2),
        dict(padding="same"),
        dict(padding="valid", bias=False),
        dict(padding=1, groups=2),
        dict(padding="same", dilation=2),
    ],
    ids=str,
)
def test_a_layer_is_nn_conv_with_the_dense_kernel(ndim, padding_mode, options) -> None:
    ours_type, dense_type, _ = LAYERS[ndim]
    size = (5, 4, 3)[:ndim]
    ours = ours_type(4, 6, 3, size, padding_mode=padding_mode, **options)
    dense = dense_type(4, 6, size, padding_mode=padding_mode, **options)
    with torch.no_grad():
        dense.weight.copy_(ours.kernel())
        if ours.bias is not None:
            dense.bias.copy_(ours.bias)
    x = torch.randn(2, 4, *(9, 10, 11)[:ndim])
    torch.testing.assert_close(ours(x), dense(x), rtol=0, atol=0)
    torch.testing.assert_close(ours(x[0]), dense(x[0]), rtol=0, atol=0)  # without a batch


@pytest.mark.parametrize("ndim", LAYERS)
@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_every_parameter_gets_a_gradient(ndim, interpolation) -> None:
    layer = LAYERS[ndim][0](4, 6, 3, 5, groups=2, padding=2, interpolation=interpolation)
    layer(torch.randn(2, 4, *(6,) * ndim)).square().sum().backward()
    names = {"weight", "positions", "bias"} | ({"sigma"} if dcls.INTERPOLATIONS[interpolation].has_sigma else set())
    assert set(dict(layer.named_parameters())) == names
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("ndim", LAYERS)
def test_shapes_and_initial_values(ndim) -> None:
    layer = LAYERS[ndim][0](64, 64, 26, 9, groups=16)
    assert layer.weight.shape == (64, 4, 26)
    assert layer.positions.shape == layer.sigma.shape == (ndim, 64, 4, 26)
    assert layer.positions.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.all(layer.sigma == torch.tensor(0.23))
    assert layer.weight.abs().max() <= (4 * 26) ** -0.5
    dense = LAYERS[ndim][0](64, 64, 26, 2)
    assert dense.positions.min() >= -1 and dense.positions.max() <= 0, "initial positions lie in the kernel"


@pytest.mark.parametrize("make", [lambda: dcls.Dcls2d(4, 4, 3, 7, groups=4), SharedPair], ids=["layer", "shared"])
class TestToolsOfTheEcosystem:
    x = torch.randn(2, 4, 12, 12)

    def test_compile_from_cold(self, make) -> None:
        torch.compiler.reset()
        model = make()
        expected, gradients = self.run(model)
        model.zero_grad()
        got, compiled_gradients = self.run(torch.compile(model, fullgraph=True), model)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(compiled_gradients, gradients, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("strict", [True, False])
    def test_export_from_cold(self, make, strict) -> None:
        model = make()
        program = torch.export.export(model, (self.x,), strict=strict)
        torch.testing.assert_close(program.module()(self.x), model(self.x))
        assert set(program.state_dict) == set(model.state_dict())

    def test_copy_and_pickle(self, make) -> None:
        model = make()
        expected = model(self.x)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
            assert torch.equal(other(self.x), expected)
            with torch.no_grad():
                next(p for n, p in other.named_parameters() if n.endswith("positions")).add_(0.3)
            assert not torch.equal(other(self.x), expected)
            assert torch.equal(model(self.x), expected)

    def test_functional_call_replaces_positions(self, make) -> None:
        model = make()
        parameters = {n: p.detach() + 0.3 if n.endswith("positions") else p for n, p in model.named_parameters()}
        got = torch.func.functional_call(model, parameters, (self.x,))
        assert not torch.allclose(got, model(self.x))
        model.load_state_dict(parameters)
        torch.testing.assert_close(got, model(self.x))

    @staticmethod
    def run(model, owner=None):
        output = model(TestToolsOfTheEcosystem.x)
        output.square().sum().backward()
        return output.detach(), [p.grad.clone() for p in (owner or model).parameters()]


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        ((3, 4, 2, 5), dict(groups=2), "in_channels=3 is not divisible by groups=2"),
        ((4, 3, 2, 5), dict(groups=2), "out_channels=3 is not divisible"),
        ((4, 4, 0, 5), {}, "kernel_count must be at least 1"),
        ((4, 4, 2, (5, 5, 5)), {}, "dilated_kernel_size of a Dcls2d must be an integer >= 1 or 2 of them"),
        ((4, 4, 2, 5), dict(padding="full"), "padding must be integers, 'same', 'valid', 'causal', got 'full'"),
        ((4, 4, 2, 5), dict(padding="same", stride=2), "padding='same' needs stride 1"),
        ((4, 4, 2, 5), dict(padding_mode="mirror"), "padding_mode must be one of zeros, reflect"),
        ((4, 4, 2, 5), dict(interpolation="gauss"), "unknown interpolation 'gauss'"),
    ],
)
def test_wrong_arguments_are_named(arguments, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        dcls.Dcls2d(*arguments, **options)


def test_repr_names_what_differs_from_the_defaults() -> None:
    text = repr(dcls.Dcls2d(4, 8, 3, (5, 7), stride=2, groups=4, bias=False))
    assert text == (
        "Dcls2d(4, 8, kernel_count=3, dilated_kernel_size=(5, 7), interpolation='gaussian', stride=(2, 2), groups=4, "
        "bias=False)"
    )


def test_a_call_in_the_order_of_nn_conv2d_is_an_error() -> None:
    with pytest.raises(TypeError, match="positional arguments"):
        dcls.Dcls2d(96, 96, 26, 23, 1, 11, 1, 96)  # would be a dense layer with 96 times the weights


WRONG_ARGUMENTS = [
    dict(in_channels=0), dict(in_channels=2.0), dict(in_channels=None), dict(in_channels="4"), dict(out_channels=-1),
    dict(out_channels=(4, 4)), dict(kernel_count=(3, 1)), dict(kernel_count=0), dict(kernel_count=2.5),
    dict(kernel_count=True), dict(kernel_count=None), dict(dilated_kernel_size=0), dict(dilated_kernel_size=(7,)),
    dict(dilated_kernel_size=(7, 7.0)), dict(dilated_kernel_size=None), dict(dilated_kernel_size="77"),
    dict(dilated_kernel_size={7, 9}), dict(stride=0), dict(stride=None), dict(padding=-1), dict(padding=None),
    dict(padding="full"), dict(padding=1.5), dict(dilation=0), dict(dilation=(1, True)), dict(groups=3), dict(groups=0),
    dict(groups="2"), dict(bias=None), dict(bias="yes"), dict(padding_mode="mirror"), dict(padding_mode=None),
    dict(padding_mode=["zeros"]), dict(interpolation="cubic"), dict(interpolation=None), dict(interpolation=["gaussian"]),
    dict(device="gpu"), dict(device=1.5), dict(dtype=torch.int8), dict(dtype=torch.complex64), dict(dtype="float32"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_ARGUMENTS, ids=str)
def test_a_wrong_argument_is_named(wrong) -> None:
    arguments = dict(in_channels=4, out_channels=4, kernel_count=3, dilated_kernel_size=(7, 1)) | wrong
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        dcls.Dcls2d(**arguments)


def test_integers_of_numpy_are_integers() -> None:
    two, three, five = np.arange(6, dtype=np.int32)[[2, 3, 5]]
    layer = dcls.Dcls2d(two, two, three, [five, three], padding=two, groups=two)
    assert layer.dilated_kernel_size == (5, 3) and type(layer.kernel_count) is int


def test_causal_outputs_depend_on_no_later_input_and_delays_say_on_which() -> None:
    layer = dcls.Dcls1d(1, 1, 1, 6, padding="causal", dilation=2, bias=False)
    nn.init.constant_(layer.positions, -1.0)  # 0, 1, 2 or 3 grid points before the last one
    assert layer.delays.shape == layer.positions.shape and layer.delays.item() == 2 * 3
    nn.init.constant_(layer.weight, 1.0)
    pulse = torch.zeros(1, 1, 30)
    pulse[..., 10] = 1
    with dcls.discretized(layer):
        assert layer(pulse).argmax() == 10 + 6
        assert layer(pulse).count_nonzero() == 1
        nn.init.constant_(layer.positions, -0.8)
        assert layer.delays.item() == 6
    assert layer.delays.item() == pytest.approx(2 * 2.8)
    assert not layer(pulse)[..., :10].any()
    assert layer(pulse).shape == pulse.shape


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", ["causal", ("causal", "same"), ((1, 2), 3)])
def test_padding_that_pytorch_does_not_know_survives_folding(padding, padding_mode) -> None:
    layer = dcls.Dcls2d(2, 4, 3, (4, 5), padding=padding, padding_mode=padding_mode)
    x = torch.randn(2, 2, 9, 10)
    model = dcls.reparameterize(nn.Sequential(layer), x)
    torch.testing.assert_close(model(x), layer(x))
    assert not any(isinstance(module, dcls.DclsNd) for module in model.modules())


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("padding", [2, "same", "valid"])
def test_a_layer_answers_what_code_asks_of_a_convolution(ndim, padding) -> None:
    layer_type = (dcls.Dcls1d, dcls.Dcls2d, dcls.Dcls3d)[ndim - 1]
    plain_type = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
    layer = layer_type(4, 6, 3, 8, padding=padding, dilation=3, groups=2, padding_mode="circular")
    plain = plain_type(4, 6, 8, padding=padding, dilation=3, groups=2, padding_mode="circular")
    assert list(layer._reversed_padding_repeated_twice) == list(plain._reversed_padding_repeated_twice)
    for name in (*plain.__constants__, "transposed"):
        if name in vars(plain):
            assert getattr(layer, name) == getattr(plain, name), name
