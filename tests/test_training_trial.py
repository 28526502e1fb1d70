"""What is found out of a configuration before any data is opened."""

import pytest
import torch

from dcls.errors import UserError
from training.config_file import load_config
from training.trial import try_out

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.options.depths=[1, 1, 1, -1]"], "model.options.depths: .*non-negative"),
        (["model.options.depths=[1000000, 1, 1, 1]"], "model.options.depths: .*more than 10000 layers"),
        (["model.options.depths=[1]"], "model.options.depths: .*IndexError"),
        (["model.options.dims=[-8, 8, 8, 8]"], "model.options.dims: .*negative dimension"),
        (["model.options.dims=[200000, 200000, 200000, 200000]"], "model.options.dims: .*GB of memory"),
        (["model.options.dilated_kernel_size=0"], "model.options.dilated_kernel_size: .*integer >= 1"),
        (["model.options.dilated_kernel_size=1000001"], "model.options.dilated_kernel_size: .*GB of memory"),
        (["model.options.kernel_count=1000000000"], "model.options.kernel_count: .*too large"),
        (["model.options.kernel_count=[3, 1]"], "model.options.kernel_count: "),
        (["model.options.patch_size=0"], "model.options.patch_size: .*ZeroDivisionError"),
        (["model.options.features_only=true"], "model.options.features_only: .*not one score a class"),
        (["model.options.in_chans=1"], "model.options.in_chans: .*channel"),
        (["model.options.output_stride=7"], r"model.options.output_stride: .*assert output_stride in \(8, 16, 32\)"),
        (["model.options.speed=3"], "model.options.speed: .*takes no such option"),
        (["data.image_size=1"], "data.image_size: ConvNeXt.* cannot take RGB images of 1x1"),
        (["optimizer.name=adahessian"], "optimizer.name: adahessian cannot be used"),
        (["optimizer.name=fusedadam"], "optimizer.name: fusedadam cannot be used"),
        (["optimizer.options.betas=[1, 1]"], "optimizer.options.betas: "),
        (["optimizer.options.capturable=true"], "optimizer.options.capturable: "),
        (["optimizer.options.eps=-1"], "optimizer.options.eps: "),
        (["optimizer.options.lr=1"], "optimizer.options.lr: "),
    ],
)  # fmt: skip
def test_the_key_that_was_set_is_blamed(tiny_config, overrides, message) -> None:
    with pytest.raises(UserError, match=f"^{message}") as error:
        try_out(load_config(tiny_config(), overrides), CPU)
    assert "\n" not in str(error.value) and error.value.on_every_rank


@pytest.mark.parametrize(
    "model, message",
    [
        ("{name: vgg11}", "^model.name: vgg11 has no stochastic depth; set model.drop_path_rate=null$"),
        ("{name: vgg11, drop_path_rate: 0.2}", "^model.drop_path_rate: vgg11 has no stochastic depth; set it to null$"),
        ("{name: resnet10t, options: {depths: [1]}}", "^model.options.depths: resnet10t takes no such option"),
        (
            "{name: convnext_atto, options: {dims: [8, 8, 16, 16]}, dcls: {dilated_kernel_size: 5, kernel_count: 3, match: 9}}",
            "^model.dcls.match: no convolution matches 9",
        ),
        ("{name: nothing}", "^model.name: no architecture 'nothing'"),
    ],
)
def test_the_model_is_blamed_for_what_it_does_not_have(tiny_config, model, message) -> None:
    with pytest.raises(UserError, match=message):
        try_out(load_config(tiny_config(model=model)), CPU)


def test_a_model_that_cannot_recompute_activations_is_named(tiny_config) -> None:
    config = tiny_config(model="{name: dla34, drop_path_rate: null}")
    with pytest.raises(UserError, match="^training.gradient_checkpointing: dla34 cannot recompute its activations"):
        try_out(load_config(config, ["training.gradient_checkpointing=true"]), CPU)
    try_out(load_config(tiny_config(), ["training.gradient_checkpointing=true"]), CPU)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "caformer_s18", "inception_v3"]
)
def test_models_of_all_kinds_pass(tiny_config, name) -> None:
    config = load_config(tiny_config(model=f"{{name: {name}, drop_path_rate: null}}"), ["data.image_size=null"])
    try_out(config, CPU)


@pytest.mark.parametrize("name", ["sgd", "lamb", "lion", "adafactor", "muon", "nadamw"])
def test_optimizers_of_all_kinds_pass(tiny_config, name) -> None:
    try_out(load_config(tiny_config(), [f"optimizer.name={name}", "optimizer.eps=null"]), CPU)
