"""A shared set of positions in whatever people do with the model that holds its layers."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.models._utils import IntermediateLayerGetter

import dcls


def depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 7, padding=3, groups=channels)


def converted(model: nn.Module, **options) -> nn.Module:
    dcls.convert(model, dilated_kernel_size=9, kernel_count=4, **options)
    return model


def position_keys(module: nn.Module) -> list[str]:
    return [key for key in module.state_dict() if key.endswith("positions")]


class IteratesOverChildren(nn.Module):
    """As timm's RegNets: whatever child there is gets called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = depthwise(4), depthwise(4)

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


def test_parents_that_iterate_over_their_children() -> None:
    stage = converted(IteratesOverChildren())
    stage(torch.randn(1, 4, 9, 9)).sum().backward()
    assert [name for name, _ in stage.named_children()] == ["a", "b"]
    assert position_keys(stage) == ["a.shared.positions"] and stage.b.positions.grad is not None


@pytest.mark.parametrize("name", ["regnetz_040", "regnetx_002"])
def test_timms_regnets(name) -> None:
    model = timm.create_model(name, num_classes=3)
    match = lambda n, conv: conv.kernel_size == (3, 3) and conv.stride == (1, 1)  # noqa: E731
    dcls.convert(model, dilated_kernel_size=5, kernel_count=3, match=match)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("container", [nn.Sequential, nn.ModuleList])
def test_plain_containers(container) -> None:
    layers = converted(
        container([depthwise(4), depthwise(4)])
        if container is nn.ModuleList
        else nn.Sequential(depthwise(4), depthwise(4))
    )
    assert len(layers) == 2 and layers[0].positions is layers[1].positions
    assert position_keys(layers) == ["0.shared.positions"]


def test_feature_backbones() -> None:
    backbone = converted(timm.create_model("convnext_atto", features_only=True))
    maps = backbone(torch.randn(1, 3, 64, 64))
    assert [m.shape[1] for m in maps] == backbone.feature_info.channels()
    sum(m.sum() for m in maps).backward()
    assert len(position_keys(backbone)) == 4
    names = {name for name, _ in backbone.named_parameters()}
    assert set(position_keys(backbone)) <= names


def test_torchvisions_intermediate_layer_getter() -> None:
    model = converted(nn.Sequential(depthwise(4), depthwise(4), depthwise(4)))
    getter = IntermediateLayerGetter(model, {"1": "out"})
    assert position_keys(getter) == ["0.shared.positions"]
    assert getter(torch.randn(1, 4, 9, 9))["out"].shape == (1, 4, 9, 9)


@pytest.fixture
def blocks() -> nn.Sequential:
    return converted(nn.Sequential(*(depthwise(4) for _ in range(4))))


@pytest.mark.parametrize("kept", [slice(0, 4), slice(1, 4), slice(2, 3)])
def test_blocks_taken_out_keep_their_positions(blocks, kept) -> None:
    part = nn.Sequential(*list(blocks)[kept])
    names = [name for name, _ in part.named_parameters() if "shared" in name]
    assert names == ["0.shared.positions", "0.shared.sigma"] == [key for key in part.state_dict() if "shared" in key]
    assert any(parameter is blocks[0].positions for parameter in part.parameters())
    part(torch.randn(1, 4, 9, 9)).square().mean().backward()
    before = blocks[3].positions.detach().clone()
    torch.optim.SGD(part.parameters(), lr=1.0).step()
    assert not torch.equal(blocks[3].positions, before)
    # saved and loaded again, elsewhere and here
    other = nn.Sequential(*list(converted(nn.Sequential(*(depthwise(4) for _ in range(4)))))[kept])
    other.load_state_dict(part.state_dict())
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(other(x), part(x))
    missing = {key: value for key, value in part.state_dict().items() if not key.endswith("positions")}
    with pytest.raises(RuntimeError, match=r"Missing key.*0\.shared\.positions"):
        other.load_state_dict(missing)


def test_part_of_a_model_moves_with_its_positions(blocks) -> None:
    part = nn.Sequential(*list(blocks)[1:]).double()
    assert part[0].positions.dtype == torch.float64
    assert part(torch.randn(1, 4, 9, 9, dtype=torch.float64)).dtype == torch.float64


def test_copies_and_pickles_of_a_part_share_among_themselves_only(blocks) -> None:
    part = nn.Sequential(*list(blocks)[1:])
    for twin in (copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert twin[0].positions is twin[2].positions
        assert twin[0].positions is not blocks[0].positions
        assert position_keys(twin) == ["0.shared.positions"]


def test_the_first_layer_can_be_removed(blocks) -> None:
    blocks[0] = nn.Identity()
    assert position_keys(blocks) == ["1.shared.positions"]
    assert sum(p is blocks[1].positions for p in blocks.parameters()) == 1


def test_a_state_dict_holds_the_set_once_and_again_every_time(blocks) -> None:
    for _ in range(2):
        assert position_keys(blocks) == ["0.shared.positions"]
    plain = {}
    blocks.state_dict(destination=plain)
    assert [key for key in plain if key.endswith("positions")] == ["0.shared.positions"]
    with torch.device("meta"):
        empty = converted(nn.Sequential(*(depthwise(4) for _ in range(4))))
    assert position_keys(empty) == ["0.shared.positions"]


def test_a_file_with_an_alias_too_much_loads(blocks) -> None:
    state = blocks.state_dict()
    state["2.shared.positions"] = state["0.shared.positions"] + 1
    state["2.shared.sigma"] = state["0.shared.sigma"]
    expected = state["2.shared.positions"].clone()
    blocks.load_state_dict(state)
    assert torch.equal(blocks[0].positions, expected), "the last one that was loaded"
    state["2.shared.else"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*2\.shared\.else"):
        blocks.load_state_dict(state)


class Offloaded:
    """What offloading hooks do: a module's own parameters are there only while it is called."""

    def __init__(self, model: nn.Module) -> None:
        self.values = {key: value.clone() for key, value in model.state_dict().items()}
        self._attach(model, "")

    def _attach(self, module: nn.Module, prefix: str) -> None:
        if module._parameters:
            self._show(module, prefix, meta=True)
            module.register_forward_pre_hook(lambda m, _: self._show(m, prefix, meta=False))
            module.register_forward_hook(lambda m, *_: self._show(m, prefix, meta=True))
        for name, child in module.named_children():
            self._attach(child, f"{prefix}{name}.")

    def _show(self, module: nn.Module, prefix: str, *, meta: bool) -> None:
        for name, parameter in module._parameters.items():
            if parameter is not None:
                value = self.values[prefix + name]
                module._parameters[name] = nn.Parameter(value.to("meta") if meta else value, requires_grad=False)


def test_offloaded_models_compute_the_same() -> None:
    model = converted(timm.create_model("convnext_atto", num_classes=3)).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        Offloaded(model)
        torch.testing.assert_close(model(x), expected)
        torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_recomputed_blocks_inside_a_joint_construction(use_reentrant) -> None:
    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(depthwise(4) for _ in range(3))
            self.recompute = False

        def forward(self, x):
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=use_reentrant) if self.recompute else block(x)
            return x

    stage = converted(Stage()).double()
    gradients = []
    for stage.recompute in (False, True):
        stage.zero_grad()
        x = torch.ones(1, 4, 9, 9, dtype=torch.float64, requires_grad=True)
        stage(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in stage.parameters()])
    torch.testing.assert_close(*gradients)


def test_sets_by_the_pattern_of_the_modules_that_own_them() -> None:
    model = timm.create_model("convnext_atto", depths=(2, 2, 2, 2), dims=(8, 8, 8, 8))
    conversion = dcls.convert(model, dilated_kernel_size=9, kernel_count=4, share="stages.*")
    assert conversion.shared == [f"stages.{stage}.blocks.0.conv_dw.shared" for stage in range(4)]
    by_channels = timm.create_model("convnext_atto", depths=(2, 2, 2, 2), dims=(8, 8, 8, 8))
    assert len(dcls.convert(by_channels, dilated_kernel_size=9, kernel_count=4).shared) == 1
    only_one = timm.create_model("convnext_atto", depths=(2, 2, 2, 2), dims=(8, 8, 8, 8))
    assert len(dcls.convert(only_one, dilated_kernel_size=9, kernel_count=4, share="stages.2").shared) == 1
    assert only_one.stages[0].blocks[0].conv_dw.owns_positions


def test_joint_construction_is_removed_by_its_handles() -> None:
    model = timm.create_model("convnext_atto")
    conversion = dcls.convert(model, dilated_kernel_size=9, kernel_count=4)
    assert len(conversion.joint_constructions) == 4
    for handle in conversion.joint_constructions:
        handle.remove()
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "layers, problem",
    [
        (None, "layers must be a list of DCLS layers, got a NoneType"),
        (dcls.Dcls2d(2, 2, 3, 5), "layers must be a list of DCLS layers, got a Dcls2d"),
        ([dcls.Dcls2d(2, 2, 3, 5), nn.Conv2d(2, 2, 5)], r"layers\[1\] is no DCLS layer but a Conv2d"),
        ([dcls.Dcls2d(2, 2, 3, 5)] * 2, r"layers\[1\] is there twice"),
        ([], "at least one layer"),
    ],
)
def test_what_cannot_share_is_named(layers, problem) -> None:
    with pytest.raises(ValueError, match=problem):
        dcls.share_positions(layers)


def owner_last() -> nn.Module:
    blocks = nn.Sequential(*(dcls.Dcls2d(4, 4, 3, 9, groups=4, padding="same") for _ in range(3)))
    dcls.share_positions([blocks[2], blocks[0], blocks[1]])
    return blocks


def under_two_names() -> nn.Module:
    model = nn.Module()
    model.body = converted(nn.Sequential(depthwise(4), depthwise(4)))
    model.alias = model.body
    return model


@pytest.mark.parametrize(
    "build",
    [
        owner_last,
        under_two_names,
        lambda: nn.Sequential(*reversed(converted(nn.Sequential(*(depthwise(4) for _ in range(3)))))),
        lambda: nn.Sequential(*list(converted(nn.Sequential(*(depthwise(4) for _ in range(3)))))[1:]),
    ],
    ids=["owner last", "two names", "reversed", "without the owner"],
)
@pytest.mark.parametrize("assign", [False, True])
def test_every_state_dict_fits_the_model_that_it_is_from(build, assign) -> None:
    model, other = build(), build()
    other.load_state_dict({key: value.clone() for key, value in model.state_dict().items()}, assign=assign)
    for (name, ours), (_, theirs) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name
    layers = [module for module in other.modules() if isinstance(module, dcls.Dcls2d)]
    assert all(layer.positions is layers[0].positions for layer in layers)


def test_new_positions_are_those_of_all_layers(blocks) -> None:
    new = nn.Parameter(torch.zeros_like(blocks[0].positions))
    for layer in (blocks[0], blocks[2]):
        layer.positions = new
        assert all(block.positions is new for block in blocks)
    with pytest.raises(TypeError, match="cannot assign"):
        blocks[1].sigma = torch.ones_like(blocks[1].sigma)


def test_a_pass_that_was_interrupted_leaves_no_kernel_behind(blocks) -> None:
    parent = nn.Sequential(blocks)
    handle = dcls.register_joint_construction(parent)

    def interrupt(*_):
        raise KeyboardInterrupt

    x = torch.randn(1, 4, 9, 9)
    hook = blocks[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        parent(x)
    hook.remove()
    for change in (lambda: blocks[2].weight.mul_(2), lambda: blocks[2].positions.add_(1), handle.remove):
        with torch.no_grad():
            change()
        torch.testing.assert_close(
            blocks[2](x), torch.nn.functional.conv2d(x, blocks[2].kernel(), blocks[2].bias, padding=4, groups=4)
        )


def test_sharded_models_compute_the_same(tmp_path) -> None:
    """FSDP of one process: the set first, then the blocks, then the whole."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    model = converted(nn.Sequential(*(nn.Sequential(depthwise(4)) for _ in range(3))))
    x = torch.randn(2, 4, 9, 9)
    expected = model(x)
    expected.square().mean().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        fully_shard(model[0][0].shared)
        for block in model:
            fully_shard(block)
        fully_shard(model)
        for _ in range(2):
            outputs = model(x)
            torch.testing.assert_close(outputs, expected)
        outputs.square().mean().backward()
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad.full_tensor(), gradient)
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(x), expected)
    finally:
        dist.destroy_process_group()
