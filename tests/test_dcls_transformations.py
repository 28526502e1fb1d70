"""Under every transformation of PyTorch a layer is the dense convolution with its kernel."""

import copy
import io
import warnings
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torchvision.models.feature_extraction import create_feature_extractor

import dcls
import models  # noqa: F401
from dcls.depthwise import ops

CHANNELS, SIZE = 2, (5, 3)
Parameters = dict[str, Tensor]


class Pair(nn.Sequential):
    """Two layers, with one element far outside the kernel."""

    def __init__(self, kind: str = "plain") -> None:
        super().__init__(
            *(dcls.Dcls2d(CHANNELS, CHANNELS, 2, SIZE, padding="same", groups=CHANNELS).double() for _ in range(2))
        )
        with torch.no_grad():
            self[0].positions[0, 0, 0, 0] = 20.0
        if kind in ("shared", "joint"):
            dcls.share_positions(list(self))
        if kind == "joint":
            dcls.register_joint_construction(self)
        if kind == "folded":
            dcls.reparameterize(self)
        if kind == "cached":
            with torch.no_grad():
                self.eval()(images())

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self[0](x).tanh())


def images(count: int = 3) -> Tensor:
    return torch.randn(count, CHANNELS, 6, 4, dtype=torch.float64)


def dense(parameters: Parameters, x: Tensor) -> Tensor:
    """Compute what ``Pair`` does by the constructed kernels and ``F.conv2d``."""
    outputs = []
    for index in range(2):
        weight, bias = (parameters[f"{index}.{name}"] for name in ("weight", "bias"))
        if weight.ndim == 3:
            owner = f"{index}." if f"{index}.positions" in parameters else "0.shared."
            positions, sigma = (parameters[owner + name] for name in ("positions", "sigma"))
            weight = dcls.construct_kernel(weight, positions, sigma, SIZE)
        outputs.append(F.conv2d(outputs[0].tanh() if outputs else x, weight, bias, padding="same", groups=CHANNELS))
    return outputs[1]


def loss(function: Callable, parameters: Parameters, x: Tensor) -> Tensor:
    return function(parameters, x).square().sum()


def by_forward_ad(function: Callable, parameters: Parameters, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(p.detach(), p.detach().cos()) for name, p in parameters.items()}
        return forward_ad.unpack_dual(function(duals, forward_ad.make_dual(x, x.cos()))).tangent


def forward_over_backward(function: Callable, parameters: Parameters, x: Tensor) -> Tensor:
    """Differentiate forward through a backward pass whose forward pass was an ordinary one."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        out = function(parameters, x)
        with forward_ad.dual_level():
            seed = forward_ad.make_dual(torch.ones_like(out), out.detach().cos())
            (gradient,) = torch.autograd.grad(out, x, seed)
            return forward_ad.unpack_dual(gradient).tangent


def with_batched_seeds(function: Callable, parameters: Parameters, x: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        inputs = [x.clone().requires_grad_(), *parameters.values()]
        out = function(parameters, inputs[0])
        seeds = torch.eye(out.numel(), dtype=out.dtype).unflatten(1, out.shape)[::7]
        return torch.autograd.grad(out, inputs, seeds, is_grads_batched=True)


def ensemble(function: Callable, parameters: Parameters, x: Tensor) -> Tensor:
    stacked = {name: torch.stack([p.detach(), p.detach().cos(), -p.detach()]) for name, p in parameters.items()}
    return vmap(function, in_dims=(0, None))(stacked, x)


def tangents(parameters: Parameters) -> Parameters:
    return {name: parameter.detach().cos() for name, parameter in parameters.items()}


TRANSFORMATIONS: dict[str, Callable] = {
    "grad": lambda f, p, x: grad(lambda *a: loss(f, *a), argnums=(0, 1))(p, x),
    "vjp": lambda f, p, x: vjp(f, p, x)[1](x.cos()),
    "jvp": lambda f, p, x: jvp(f, (p, x), (tangents(p), x.cos())),
    "linearize": lambda f, p, x: linearize(lambda x: f(p, x), x)[1](x.cos()),
    "jacrev": lambda f, p, x: jacrev(f)(p, x[:1]),
    "jacfwd": lambda f, p, x: jacfwd(f)(p, x[:1]),
    "hessian": lambda f, p, x: hessian(lambda p: loss(f, p, x[:1]))(p),
    "backward over forward": lambda f, p, x: grad(lambda p: jvp(lambda x: loss(f, p, x), (x,), (x.cos(),))[1])(p),
    "vmap": lambda f, p, x: vmap(f, in_dims=(None, 0))(p, x.unsqueeze(1)),
    "vmap over parameters": ensemble,
    "per-sample gradients": lambda f, p, x: vmap(grad(lambda p, x: loss(f, p, x[None])), in_dims=(None, 0))(p, x),
    "forward AD": by_forward_ad,
    "forward AD of a backward pass": forward_over_backward,
    "batched seeds": with_batched_seeds,
    "functional.jacobian": lambda f, p, x: torch.autograd.functional.jacobian(
        lambda x: f(p, x), x[:1], strategy="forward-mode", vectorize=True
    ),
}


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("kind", ["plain", "shared", "joint", "cached", "folded"])
def test_a_network_is_its_dense_convolutions(kind, transformation) -> None:
    net, x = Pair(kind), images()
    parameters, transform = dict(net.named_parameters()), TRANSFORMATIONS[transformation]
    with torch.set_grad_enabled(kind != "cached"):
        actual = transform(lambda p, x: functional_call(net, p, (x,)), parameters, x)
        torch.testing.assert_close(actual, transform(dense, parameters, x))
        torch.testing.assert_close(net(x), dense(parameters, x))


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_forward_and_backward_derivatives_of_a_kernel_agree(interpolation) -> None:
    weight, positions = torch.randn(3, 2, 4, dtype=torch.float64), 6 * torch.randn(2, 3, 2, 4, dtype=torch.float64)
    positions[:, 0] = positions[:, 0].round()  # on the kinks
    rows = dcls.INTERPOLATIONS[interpolation].sigma_rows(2)
    arguments = (weight, positions, torch.rand(rows, 3, 2, 4, dtype=torch.float64)) if rows else (weight, positions)

    def kernel(weight: Tensor, positions: Tensor, sigma: Tensor | None = None) -> Tensor:
        return dcls.construct_kernel(weight, positions, sigma, (7, 6), interpolation)

    every = tuple(range(len(arguments)))
    torch.testing.assert_close(jacfwd(kernel, every)(*arguments), jacrev(kernel, every)(*arguments))


@pytest.mark.parametrize(
    "options", [dict(padding="same"), dict(padding=(2, 5)), dict(stride=2), dict(groups=2)], ids=str
)
def test_tangents_of_other_layers(options) -> None:
    layer = dcls.Dcls2d(4, 4, 3, (4, 6), **{"groups": 4, **options}).double()
    plain = nn.Conv2d(4, 4, (4, 6), **{"groups": 4, **options}).double()
    plain.weight, plain.bias = nn.Parameter(layer.kernel()), layer.bias
    x, tangent = torch.randn(2, 2, 4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(jvp(layer, (x,), (tangent,)), jvp(plain, (x,), (tangent,)))


def test_only_transformations_leave_the_fast_operators(monkeypatch) -> None:
    calls = []
    original = ops.depthwise_fwd
    monkeypatch.setattr(ops, "depthwise_fwd", lambda *a: calls.append(a) or original(*a))
    net, x = Pair().float(), images().float()
    net(x)
    assert len(calls) == 2
    jvp(net, (x,), (x,))
    assert len(calls) == 2


def test_compiled_transformations() -> None:
    net, x = Pair(), images()
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    compiled = torch.compile(grad(lambda p: loss(lambda p, x: functional_call(net, p, (x,)), p, x)), backend="eager")
    torch.testing.assert_close(compiled(parameters), grad(lambda p: loss(dense, p, x))(parameters))


class Several(nn.Module):
    """Layers of every kind one after another, on maps of any size."""

    def __init__(self) -> None:
        super().__init__()
        options = dict(padding="same", groups=4)
        self.pair = nn.Sequential(*(dcls.Dcls2d(4, 4, 3, 9, **options) for _ in range(2)))
        dcls.share_positions(list(self.pair))
        self.joint = nn.Sequential(*(dcls.Dcls2d(4, 4, 3, 7, interpolation="triangle", **options) for _ in range(2)))
        dcls.share_positions(list(self.joint))
        dcls.register_joint_construction(self.joint)
        self.dense = dcls.Dcls2d(4, 6, 3, (5, 3), interpolation="bilinear", padding_mode="circular", padding="same")
        self.strided = dcls.Dcls2d(
            6, 6, 3, (5, 4), stride=2, padding=1, groups=6, interpolation="bilinear_unnormalized"
        )
        self.line = dcls.Dcls1d(6, 6, 3, 5, padding="same", groups=6)
        self.volume = dcls.Dcls3d(1, 1, 3, (3, 3, 5), padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = self.strided(self.dense(self.joint(self.pair(x).relu()).relu()).relu())
        return self.volume(x.unsqueeze(1)).squeeze(1) + self.line(x.mean(2)).unsqueeze(2)


@pytest.fixture
def net() -> nn.Module:
    return Several().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 4, 18, 14)


def assert_equal_and_trainable(program: nn.Module, net: nn.Module, x: Tensor) -> None:
    outputs, gradients = [], []
    for model in (program, net):
        out, parameters = model(x), dict(sorted(model.named_parameters()))
        outputs.append(out)
        gradients.append(torch.autograd.grad(out.square().sum(), list(parameters.values()), allow_unused=True))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_traced(net, x, mode) -> None:
    with warnings.catch_warnings(), mode():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        net(x)  # keeps kernels, which must not become constants of the program
        traced = torch.jit.trace(copy.deepcopy(net), x)
    assert "dcls::" not in str(traced.inlined_graph)
    for size in ((18, 14), (20, 26)):
        assert_equal_and_trainable(traced, net, torch.randn(3, 4, *size))


def test_exported_for_any_size_without_our_operators(net, x) -> None:
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(net, (x,), dynamic_shapes=({**sizes},))
    assert "dcls" not in program.graph_module.code
    for size in ((18, 14), (9, 31)):
        x = torch.randn(3, 4, *size)
        torch.testing.assert_close(program.module()(x), net(x), rtol=1e-4, atol=1e-6)


def test_symbolically_traced(net, x) -> None:
    traced = torch.fx.symbolic_trace(net)
    assert_equal_and_trainable(traced, net, x)
    assert_equal_and_trainable(copy.deepcopy(traced), net, x)
    with torch.no_grad():
        for model in (net, traced):
            model.get_parameter("pair.0.shared.positions").mul_(2)
    torch.testing.assert_close(traced(x), net(x))


def test_features_by_symbolic_trace() -> None:
    model = timm.create_model("convnext_atto_dcls_gaussian", dims=(8, 8, 16, 16), depths=(1, 2, 1, 1), num_classes=3)
    x = torch.randn(1, 3, 64, 64)
    features = create_feature_extractor(model.eval(), {"stages.1": "map", "head": "logits"})(x)
    torch.testing.assert_close(features["logits"], model(x))
    torch.testing.assert_close(features["map"], model.stages[1](model.stages[0](model.stem(x))))


LAYERS = {name: dict(interpolation=name) for name in dcls.INTERPOLATIONS} | {
    "one axis": dict(learned_axes=(0,)),
    "causal": dict(padding="causal"),
}


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit", "ignore:.*legacy TorchScript-based ONNX", "ignore::DeprecationWarning"
)
@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_programs_of_every_layer(options, discrete) -> None:
    layer = dcls.Dcls2d(4, 4, 3, (5, 4), **{"padding": "same", "groups": 4, **options}).discretize(discrete)
    x = torch.randn(2, 4, 9, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(layer, x)
    for program in (traced, torch.fx.symbolic_trace(layer)):
        assert_equal_and_trainable(program, layer, x)
    onnxruntime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    torch.onnx.export(layer, (x,), file, dynamo=False)
    session = onnxruntime.InferenceSession(file.getvalue())
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), layer(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit", "ignore:.*legacy TorchScript-based ONNX", "ignore::DeprecationWarning"
)
@pytest.mark.parametrize("dynamo", [False, True])
def test_onnx(net, x, tmp_path, dynamo) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    torch.onnx.export(net, (x,), path, dynamo=dynamo)
    session = onnxruntime.InferenceSession(path)
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), net(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("from_export", [False, True])
def test_openvino(net, x, from_export) -> None:
    openvino = pytest.importorskip("openvino")
    source = torch.export.export(net, (x,)) if from_export else net
    compiled = openvino.compile_model(
        openvino.convert_model(source, example_input=x), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (out,) = compiled({0: x.numpy()}).values()
    torch.testing.assert_close(torch.from_numpy(out), net(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_coreml_holds_finished_kernels(net, x) -> None:
    coremltools = pytest.importorskip("coremltools")
    net.dense.padding_mode = "zeros"  # it knows no circular one
    model = coremltools.convert(torch.jit.trace(net, x), inputs=[coremltools.TensorType(shape=x.shape)])
    operations = [operation.op_type for operation in model._mil_program.functions["main"].operations]
    assert operations.count("conv") == 8 and "exp" not in operations
