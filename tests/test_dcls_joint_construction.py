"""Kernels built for a whole stage at once are the layers' own, in every way a stage is called."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn
from torch.nn.utils import prune

import dcls
import dcls.joint_construction
import models  # noqa: F401


class Stage(nn.Module):
    """Three layers with one set of positions, and one with a set of its own."""

    def __init__(self, together: bool = True, interpolation: str = "gaussian") -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            dcls.Dcls2d(6, 6, 4, (9, 7), padding="same", groups=6, interpolation=interpolation) for _ in range(4)
        )
        dcls.share_positions(list(self.convs[:3]))
        if together:
            self.joint_construction = dcls.register_joint_construction(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = x + conv(x)
        return x


def pair(**options) -> tuple[Stage, Stage]:
    """With and without building together, of equal parameters."""
    together, alone = Stage(**options), Stage(together=False, **options)
    alone.load_state_dict(together.state_dict())
    return together, alone


def assert_equal_pass(together: nn.Module, alone: nn.Module) -> None:
    x = torch.randn(2, 6, 8, 8)
    outputs = [model(x) for model in (together, alone)]
    torch.testing.assert_close(*outputs)
    for model, out in zip((together, alone), outputs, strict=True):
        model.zero_grad()
        out.square().mean().backward()
    for (name, a), b in zip(together.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize("interpolation", dcls.INTERPOLATIONS)
def test_outputs_and_gradients(interpolation) -> None:
    assert_equal_pass(*pair(interpolation=interpolation))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("size", [(5,), (4, 5), (3, 4, 5)])
def test_kernels_of_several_layers_are_those_of_each(layers, size) -> None:
    weight = torch.randn(layers, 6, 2, 3, dtype=torch.float64)
    positions, sigma = torch.randn(2, len(size), 6, 2, 3, dtype=torch.float64)
    kernels = dcls.construct_kernel(weight, positions, sigma, size)
    assert kernels.shape == (layers, 6, 2, *size)
    for kernel, its_weight in zip(kernels, weight, strict=True):
        torch.testing.assert_close(kernel, dcls.construct_kernel(its_weight, positions, sigma, size))


def test_footprints_are_computed_once(monkeypatch) -> None:
    calls = []
    original = dcls.kernel.axis_footprint
    monkeypatch.setattr(dcls.kernel, "axis_footprint", lambda *a: calls.append(a) or original(*a))
    together, alone = pair()
    for model in (together, alone):
        model(torch.randn(1, 6, 8, 8))
    assert len(calls) == 2 * 2 + 4 * 2  # two sets together, four layers alone, two axes each


def test_nothing_is_left_behind_even_by_a_failure() -> None:
    stage = Stage()
    stage(torch.randn(1, 6, 8, 8))
    with pytest.raises(ValueError):
        stage(torch.randn(1, 5, 8, 8))
    assert all(conv._built_kernel is None for conv in stage.convs)


def test_nothing_stale_after_an_interruption() -> None:
    stage = Stage()

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    handle = stage.convs[3].register_forward_pre_hook(interrupt)
    x = torch.randn(1, 6, 8, 8)
    with pytest.raises(KeyboardInterrupt):
        stage(x)
    handle.remove()
    copy.deepcopy(stage)
    with torch.no_grad():
        stage.convs[0].positions.add_(1)
        alone = Stage(together=False).eval()
        alone.load_state_dict(stage.state_dict())
        torch.testing.assert_close(stage.eval()(x), alone(x))


def test_weights_of_two_precisions_are_built_apart() -> None:
    stage = Stage()
    stage.convs[1].weight.data = stage.convs[1].weight.data.bfloat16()
    stage.convs[1].bias.data = stage.convs[1].bias.data.bfloat16()
    stage.convs[1].register_forward_pre_hook(lambda _, inputs: (inputs[0].bfloat16(),))
    assert stage(torch.randn(1, 6, 8, 8)).dtype == torch.float32


def test_blocks_can_be_checkpointed_once_each_layer_builds_alone() -> None:
    stage, alone = pair()
    stage.joint_construction.remove()
    assert not stage._forward_pre_hooks and not stage._forward_hooks and not stage._forward_hooks_always_called
    x = torch.randn(2, 6, 8, 8, requires_grad=True)
    out = x
    for conv in stage.convs:
        out = out + torch.utils.checkpoint.checkpoint(conv, out, use_reentrant=False)
    out.sum().backward()
    alone(x).sum().backward()
    for a, b in zip(stage.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    "name, dims", [("convnext_atto_dcls_gaussian", (8, 8, 16, 16)), ("convformer_xs12_dcls_gaussian", (8, 8, 16, 16))]
)
def test_whole_models_compile_and_export_in_one_graph(name, dims) -> None:
    model = timm.create_model(name, dims=dims, depths=(1, 2, 1, 1), num_classes=3)
    x = torch.randn(2, 3, 64, 64)
    expected = model.eval()(x)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected, rtol=1e-4, atol=1e-5)
    compiled = torch.compile(
        copy.deepcopy(model), fullgraph=True, backend="aot_eager"
    )  # generating code takes a minute
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-5)


def test_several_passes_before_a_backward_pass_and_several_backward_passes() -> None:
    together, alone = (model.double() for model in pair())
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    for model in (together, alone):
        (model(x) + model(2 * x)).sum().backward(retain_graph=True)
        model(x).sum().backward()
    for a, b in zip(together.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_weights_that_hooks_and_parametrizations_compute() -> None:
    together, alone = pair()
    for stage in (together, alone):
        nn.utils.parametrizations.weight_norm(stage.convs[1])
        prune.l1_unstructured(stage.convs[2], "weight", 0.5)
    for _ in range(2):
        assert_equal_pass(together, alone)
        with torch.no_grad():
            for a, b in zip(together.parameters(), alone.parameters(), strict=True):
                a.copy_(b.mul_(1.1))


def test_layers_of_one_set_may_interpolate_in_two_ways() -> None:
    together, alone = pair()
    for stage in (together, alone):
        stage.convs[1].interpolation = "triangle"
    assert_equal_pass(together, alone)


class Halved(nn.Module):
    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        return positions / 2


def test_parametrized_shared_positions() -> None:
    together, alone = pair()
    for stage in (together, alone):
        nn.utils.parametrize.register_parametrization(stage.convs[0].shared, "positions", Halved())
    assert_equal_pass(together, alone)


def test_copies_build_their_own() -> None:
    stage = Stage()
    for twin in (copy.deepcopy(stage), pickle.loads(pickle.dumps(stage))):
        with torch.no_grad():
            twin.convs[0].positions.add_(1)
        alone = Stage(together=False)
        alone.load_state_dict(twin.state_dict())
        assert_equal_pass(twin, alone)


def test_compiled() -> None:
    together, alone = pair()
    together.compile(fullgraph=True)
    assert_equal_pass(together, alone)


def test_checkpointing_from_outside() -> None:
    together, alone = (stage.double() for stage in pair())
    for use_reentrant in (True, False):
        x = torch.randn(2, 6, 8, 8, dtype=torch.float64, requires_grad=True)
        for model in (together, alone):
            model.zero_grad()
        torch.utils.checkpoint.checkpoint(together, x, use_reentrant=use_reentrant).sum().backward()
        alone(x).sum().backward()
        for a, b in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("name", ["convnext_atto_dcls_gaussian", "convformer_xs12_dcls_gaussian"])
def test_a_checkpointing_stage_of_timm_builds_in_its_blocks(name) -> None:
    model = timm.create_model(name, dims=(8, 8, 8, 8), depths=(1, 1, 2, 1), num_classes=3)
    twin = copy.deepcopy(model)
    twin.set_grad_checkpointing()
    x = torch.randn(2, 3, 32, 32)
    for net in (model, twin):
        net(x).sum().backward()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
