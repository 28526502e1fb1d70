"""From a file to its model: to start from, to evaluate, and when it cannot be."""

import json

import pytest
import timm
import torch
from released_files import tiny_reference
from safetensors.torch import save_file

import models  # noqa: F401
from dcls.checkpoints import ModelDescription
from dcls.errors import UserError
from models.loading import load_initial_weights, load_model, load_weights
from training.checkpoints.checkpoint import save_weights
from training.config import ModelConfig
from training.model import describe_model, make_model

SIZES = dict(dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), kernel_count=3)
NAME = "convnext_atto_dcls_gaussian"


def save(path, num_classes: int = 3, name: str = NAME, **options):
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in {**SIZES, **options}.items()}
    model = timm.create_model(name, num_classes=num_classes, **options)
    save_weights(path, model, ModelDescription(name, num_classes, options))
    return model


def test_another_number_of_classes_starts_a_new_head_and_says_so(tmp_path, capsys) -> None:
    trained = save(tmp_path / "a.safetensors", num_classes=3)
    config = ModelConfig(name=NAME, options=SIZES, initial_checkpoint=str(tmp_path / "a.safetensors"))
    torch.manual_seed(1)
    model = make_model(config, 5)
    torch.manual_seed(1)
    untrained = make_model(config.model_copy(update={"initial_checkpoint": None}), 5)
    assert (
        f"model.initial_checkpoint: {tmp_path / 'a.safetensors'} has 3 classes, this model 5: its head starts from random weights"
        in (capsys.readouterr().out)
    )
    for name, tensor in model.state_dict().items():
        expected = (untrained if name.startswith("head.fc") else trained).state_dict()[name]
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "caformer_s18", "mobilenetv3_small_050"])
def test_heads_of_all_kinds_start_new(tmp_path, name) -> None:
    torch.save(timm.create_model(name, num_classes=4).state_dict(), tmp_path / "a.pth")
    model = timm.create_model(name, num_classes=6)
    assert len(load_initial_weights(model, tmp_path / "a.pth")) == 1
    assert load_initial_weights(timm.create_model(name, num_classes=4), tmp_path / "a.pth") == []


def test_only_the_head_may_differ(tmp_path) -> None:
    save(tmp_path / "a.safetensors")
    config = ModelConfig(
        name=NAME, options={**SIZES, "dims": [8, 8, 16, 24]}, initial_checkpoint=str(tmp_path / "a.safetensors")
    )
    with pytest.raises(
        UserError, match=r"^model.initial_checkpoint: .*a.safetensors does not fit ConvNeXtDcls: .* of another shape"
    ):
        make_model(config, 3)


@pytest.mark.parametrize("change", [dict(dilated_kernel_size=9), dict(interpolation="triangle")], ids=str)
def test_weights_of_other_kernels_of_the_same_shape_are_refused(tmp_path, change) -> None:
    save(tmp_path / "a.safetensors", dilated_kernel_size=7)
    options = {**SIZES, "dilated_kernel_size": 7, **change}
    key = next(iter(change))
    with pytest.raises(
        UserError, match=rf"^model.initial_checkpoint: .*was trained with {key} .*set model.options.{key} as it was"
    ):
        make_model(ModelConfig(name=NAME, options=options, initial_checkpoint=str(tmp_path / "a.safetensors")), 3)
    torch.save(
        timm.create_model(NAME, num_classes=3, **SIZES, dilated_kernel_size=7).state_dict(), tmp_path / "silent.pth"
    )
    load_initial_weights(timm.create_model(NAME, num_classes=3, **options), tmp_path / "silent.pth")  # nobody knows


@pytest.mark.parametrize(
    "options, problem",
    [
        (dict(depths=[1000000, 1, 1, 1]), "model.options: .*more than 10000 layers"),
        (dict(dims=[200000] * 4), "model.options: .*GB of memory"),
        (dict(dims=[4000, 4000, 4000, 4000]), "does not fit ConvNeXtDcls"),
        (dict(speed=3), "model.options.speed: .*takes no such option"),
        (dict(dilated_kernel_size=10**9), "model.options.dilated_kernel_size: .*too large"),
    ],
)  # fmt: skip
def test_a_file_that_describes_an_absurd_model_is_blamed(tmp_path, options, problem) -> None:
    model = save(tmp_path / "a.safetensors")
    description = ModelDescription(NAME, 3, {**SIZES, **options}).to_dict()
    save_file(model.state_dict(), tmp_path / "b.safetensors", {"dcls_imagenet": json.dumps(description)})
    with pytest.raises(UserError, match=f"^{tmp_path / 'b.safetensors'} .*{problem}") as error:
        load_model(tmp_path / "b.safetensors")
    assert "\n" not in str(error.value)


def test_a_run_that_started_from_a_folder_describes_its_architecture(tmp_path) -> None:
    folder = tmp_path / "hub"
    model = save(tmp_path / "a.safetensors", dilated_kernel_size=5)
    options = {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "kernel_count": 3, "dilated_kernel_size": 5}
    timm.models.save_for_hf(model, str(folder), model_args=options)
    config = ModelConfig(name=f"local-dir:{folder}", pretrained=True)
    started = make_model(config, 4)
    description = describe_model(config, 4, None)
    assert (description.name, description.num_classes) == (NAME, 4) and options.items() <= description.options.items()
    save_weights(tmp_path / "b.safetensors", started, description)
    loaded, _ = load_model(tmp_path / "b.safetensors")
    assert all(torch.equal(tensor, started.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_another_model_or_interpolation_is_named() -> None:
    _, state = tiny_reference()
    narrow = dict(layers=(1, 1, 1, 1), num_classes=5)
    with pytest.raises(ValueError, match="ResNet.*resnet50_dcls_bilinear_unnormalized; it does not fit a ConvNeXtDcls"):
        load_weights(timm.create_model("convnext_atto_dcls_gaussian"), state, "file.pth")
    with pytest.raises(ValueError, match="bilinear_unnormalized.*the model's interpolation is gaussian"):
        model = timm.create_model("resnet50_dcls_bilinear_unnormalized", interpolation="gaussian", **narrow)
        load_weights(model, state, "file.pth")
    with pytest.raises(ValueError, match="does not fit ResNetDcls: 1 missing, such as fc.bias"):
        model = timm.create_model("resnet50_dcls_bilinear_unnormalized", layers=(1, 1, 1, 1), num_classes=5)
        load_weights(model, {name: value for name, value in state.items() if name != "fc.bias"}, "less.pth")
