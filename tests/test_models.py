"""Every registered name does what timm expects of a model, and has the size of its row of the table."""

import copy

import pytest
import timm
import torch
from safetensors.torch import save_model
from timm.data import resolve_model_data_config
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.utils import ModelEmaV3, reparameterize_model
from torch import nn

import dcls
import models
from reproduction.rows import find_rows

PARAMETERS = {
    "convnext_small_dcls_gaussian": 50_062_120,
    "convnext_base_dcls_gaussian": 88_376_040,
    "caformer_s18_dcls_gaussian": 26_355_096,
    "fastvit_sa24_dcls_bilinear": 21_523_496,
    "fastvit_sa24_dcls_gaussian": 21_506_856,
    "fastvit_sa36_dcls_bilinear": 31_452_584,
    "fastvit_sa36_dcls_gaussian": 31_412_392,
    "resnet50_dcls_bilinear_unnormalized": 33_101_864,
    "convnext_tiny_dcls_audio": 28_221_263,
    "convformer_s18_dcls_audio": 25_781_207,
    "fastvit_sa24_dcls_audio": 21_016_655,
} | {row.name: row.facts.parameters for row in find_rows(["imagenet/*_dcls_*"]) if row.name in models.NAMES}
NARROW = ["convnext_atto_dcls_gaussian", "convformer_xs12_dcls_gaussian"]
DENSE = ["convformer_xs12"]  # baselines that timm lacks
DCLS = sorted(set(models.NAMES) - set(DENSE))
EXPECTED_KERNELS = {
    "convnext_tiny_dcls_bilinear_unnormalized": (17, 34, "bilinear_unnormalized"),
    "convformer_s18_dcls_bilinear": (17, 40, "bilinear"),
    "convnext_tiny_dcls_triangle": (23, 26, "triangle"),
    "convformer_s18_dcls_triangle": (23, 26, "triangle"),
    "convnext_small_dcls_bilinear_unnormalized": (17, 40, "bilinear_unnormalized"),
    "convnext_base_dcls_bilinear_unnormalized": (17, 40, "bilinear_unnormalized"),
    "caformer_s18_dcls_bilinear": (17, 34, "bilinear"),
    "fastvit_sa24_dcls_bilinear": (17, 34, "bilinear"),
    "fastvit_sa36_dcls_bilinear": (17, 34, "bilinear"),
    "resnet50_dcls_bilinear_unnormalized": (7, 5, "bilinear_unnormalized"),
    "convnext_atto_dcls_bilinear": (23, 26, "bilinear"),
    "convnext_atto_dcls_triangle": (23, 26, "triangle"),
    "convformer_xs12_dcls_bilinear": (23, 26, "bilinear"),
    "convformer_xs12_dcls_triangle": (23, 26, "triangle"),
}
LAYERS = {
    "convnext_tiny": 18, "convnext_small": 36, "convnext_base": 36, "convnext_atto": 12, "convformer_s18": 18,
    "convformer_xs12": 12, "caformer_s18": 6, "fastvit_sa24": 25, "fastvit_sa36": 37, "resnet50": 16,
}  # fmt: skip


def small_input(name: str, batch: int = 2) -> torch.Tensor:
    """As small as the model takes it."""
    size = (1, 128, 161) if name.endswith("audio") else (3, 64, 64)
    x = torch.randn(batch, *size)
    # PyTorch 2.14 corrupts its heap on CPUs when timm's own fastvit_sa24 trains in channels_last.
    return x if "fastvit" in name else x.to(memory_format=torch.channels_last)


def dcls_layers(model: nn.Module) -> list[dcls.Dcls2d]:
    return [module for module in model.modules() if isinstance(module, dcls.Dcls2d)]


def test_every_name_is_listed_by_timm() -> None:
    narrow = {name for name in DCLS if name.startswith(("convnext_atto", "convformer_xs12"))}
    assert set(NARROW) <= narrow and set(PARAMETERS) | narrow == set(DCLS) == set(timm.list_models("*_dcls_*"))
    assert set(DENSE) <= set(timm.list_models())


@pytest.mark.parametrize("name", DCLS)
def test_size_and_kernels(name) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    if name in PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    size, count, interpolation = EXPECTED_KERNELS.get(name, (23, 26, "gaussian"))
    layers = dcls_layers(model)
    assert len(layers) == LAYERS[name.partition("_dcls_")[0]]
    for layer in layers:
        assert layer.dilated_kernel_size == (size, size)
        assert layer.interpolation == interpolation
        inputs = layer.in_channels // layer.groups
        assert layer.weight.shape == (layer.out_channels, inputs, count)
        assert layer.kernel().shape == (layer.out_channels, inputs, size, size)
        assert layer.groups == (1 if "resnet" in name else layer.in_channels)
    for stage in getattr(model, "stages", []):
        assert len({id(layer.positions) for layer in dcls_layers(stage)}) <= 1
    left = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (7, 7) and m.groups > 1]
    assert all(m.in_channels < m.out_channels for m in left), "FastViT's downsampling alone"


@pytest.mark.parametrize("name", models.NAMES)
def test_forward_and_backward_reach_every_parameter(name) -> None:
    model = timm.create_model(name, num_classes=42).train()
    output = model(small_input(name))
    assert output.shape == (2, 42) and torch.isfinite(output).all()
    output.mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", models.NAMES)
def test_default_configuration_names_real_modules(name) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    config = model.default_cfg
    assert config["architecture"] == name
    modules = dict(model.named_modules())
    first = [config["first_conv"]] if isinstance(config["first_conv"], str) else config["first_conv"]
    assert all(isinstance(modules[conv], nn.Conv2d) for conv in first)
    assert isinstance(modules[config["classifier"]], nn.Linear)
    assert modules[config["classifier"]].out_features == config["num_classes"]
    image = resolve_model_data_config(model)
    if name.endswith("audio"):
        expected = (1, 128, 1001), "bicubic", 1.0
    elif name.startswith("fastvit"):
        expected = (3, 256, 256), "bicubic", 1.0
    elif name.startswith("resnet"):
        expected = (3, 224, 224), "bilinear", 0.875
    else:
        expected = (3, 224, 224), "bicubic", 0.875 if name.startswith("convnext") else 1.0
    assert (image["input_size"], image["interpolation"], image["crop_pct"]) == expected


@pytest.mark.parametrize("name", models.NAMES)
@torch.no_grad()
def test_timms_tools_take_features_and_fold(name) -> None:
    whole, features_of = timm.create_model(name).eval(), timm.create_model(name, features_only=True).eval()
    x = small_input(name, batch=1)
    features = features_of(x)
    assert [f.shape[1] for f in features] == features_of.feature_info.channels()
    if not name.endswith("audio"):  # its stem reduces both axes, differently
        assert [64 // f.shape[-1] for f in features] == features_of.feature_info.reduction()
    assert len(features) == (5 if "resnet" in name else 4)
    final, intermediates = whole.forward_intermediates(x)
    assert [f.shape[1] for f in intermediates] == features_of.feature_info.channels()
    assert whole.forward_features(x).shape == final.shape
    folded = reparameterize_model(whole)
    assert dcls_layers(whole) or name in DENSE
    assert not dcls_layers(folded) and not any("sigma" in key for key in folded.state_dict())
    torch.testing.assert_close(folded(x), whole(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", NARROW)
class TestWhatCreateModelOffers:
    def test_channels_and_classifier(self, name) -> None:
        model = timm.create_model(name, in_chans=1, num_classes=7, drop_path_rate=0.5, drop_rate=0.1)
        x = torch.randn(1, 1, 64, 64)
        assert model(x).shape == (1, 7)
        model.reset_classifier(3)
        assert model(x).shape == (1, 3)
        model.reset_classifier(0)
        assert model(x).shape == (1, model.num_features)
        assert timm.create_model(name, num_classes=0)(torch.randn(1, 3, 64, 64)).ndim == 2

    def test_kernel_overrides(self, name) -> None:
        model = timm.create_model(name, dilated_kernel_size=9, kernel_count=5, interpolation="bilinear")
        for layer in dcls_layers(model):
            assert layer.weight.shape[-1] == 5 and layer.dilated_kernel_size == (9, 9) and layer.sigma is None
        assert model(torch.randn(1, 3, 48, 80)).shape == (1, 1000)
        assert timm.create_model(name, dilated_kernel_size=8)(torch.randn(1, 3, 64, 64)).shape == (1, 1000)

    def test_gradient_checkpointing_changes_nothing(self, name) -> None:
        model = timm.create_model(name)
        x, gradients = torch.randn(1, 3, 64, 64), []
        for enable in (False, True):
            model.set_grad_checkpointing(enable)
            model.zero_grad()
            model(x).square().mean().backward()
            gradients.append([p.grad.clone() for p in model.parameters()])
        torch.testing.assert_close(*gradients)

    def test_layer_decay_orders_stages_and_keeps_positions_with_the_first_block(self, name) -> None:
        model = timm.create_model(name)
        layer_of = group_parameters(model, model.group_matcher(), reverse=True)
        assert set(layer_of) == {n for n, _ in model.named_parameters()}
        for index in range(4):
            blocks = [n for n in layer_of if n.startswith(f"stages.{index}.blocks.0.")]
            (positions,) = [n for n in layer_of if n.startswith(f"stages.{index}.") and n.endswith(".positions")]
            assert layer_of[positions] == layer_of[blocks[0]]
        firsts = [
            layer_of[f"stages.{index}.blocks.0.norm{'' if 'convnext' in name else '1'}.weight"] for index in range(4)
        ]
        assert 0 < firsts[0] < firsts[1] < firsts[2] < firsts[3] < max(layer_of.values())
        assert layer_of["stages.2.blocks.3." + ("conv_dw" if "convnext" in name else "token_mixer.dwconv") + ".weight"]
        groups = param_groups_layer_decay(model, layer_decay=0.5)
        assert len({g["lr_scale"] for g in groups}) == max(layer_of.values()) + 1
        coarse = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
        assert len(set(coarse.values())) == 6

    def test_timms_own_optimizer_factory_does_not_decay_positions(self, name) -> None:
        model = timm.create_model(name)
        optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
        for group in optimizer.param_groups:
            for p in group["params"]:
                if any(p is layer.positions or p is layer.sigma for layer in dcls_layers(model)):
                    assert group["weight_decay"] == 0

    def test_state_dict_holds_each_tensor_once(self, name, tmp_path) -> None:
        model = timm.create_model(name).to(memory_format=torch.channels_last)
        state = model.state_dict()
        assert len({t.data_ptr() for t in state.values()}) == len(state)
        assert sum("positions" in key for key in state) == sum("sigma" in key for key in state) == 4
        save_model(model, str(tmp_path / "model.safetensors"))
        from safetensors.torch import load_file

        loaded = load_file(tmp_path / "model.safetensors")
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], state[key]) for key in state)

    def test_copies_and_loads_stay_shared(self, name) -> None:
        model = timm.create_model(name)
        with torch.device("meta"):
            empty = timm.create_model(name)
        empty.load_state_dict(model.state_dict(), assign=True)
        x = torch.randn(1, 3, 64, 64)
        for other in (copy.deepcopy(model), empty):
            for stage in other.stages:
                assert len({layer.positions for layer in dcls_layers(stage)}) == 1
            torch.testing.assert_close(other.eval()(x), model.eval()(x))

    def test_ema_averages_a_shared_set_once(self, name) -> None:
        model = timm.create_model(name)
        ema = ModelEmaV3(model, decay=0.9)
        with torch.no_grad():
            before = dcls_layers(model)[0].positions.clone()
            dcls_layers(model)[0].positions.add_(1.0)
        ema.update(model)
        first, second = dcls_layers(ema.module.stages[0])[:2]
        torch.testing.assert_close(first.positions, before + 0.1)
        assert second.positions is first.positions
