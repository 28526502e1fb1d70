import pytest
import torch

import dcls
from dcls.errors import UserError
from models.building import create_model


def test_options_that_are_none_are_left_to_the_model() -> None:
    model = create_model("convnext_atto_dcls_gaussian", dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), num_classes=None)
    assert model.num_classes == 1000


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("convnext_tiny_dcls_gausian", {}, "model.name: no architecture 'convnext_tiny_dcls_gausian' .*did you mean convnext_tiny_dcls_gaussian"),
        ("convnext_atto_dcls_gaussian", {"pretrained": True}, "model.pretrained: there are no pretrained weights for convnext_atto_dcls_gaussian"),
        ("convnext_atto_dcls_gaussian", {"kernels": 3}, "model.options.kernels: convnext_atto_dcls_gaussian takes no such option"),
        ("convnext_atto_dcls_gaussian", {"dilated_kernel_size": 0}, "model.options: convnext_atto_dcls_gaussian cannot be built"),
    ],
)  # fmt: skip
def test_what_timm_would_raise_deep_inside_is_one_message_with_its_key(name, options, message) -> None:
    with pytest.raises(UserError, match=message):
        create_model(name, **options)


def test_any_model_is_converted_and_what_cannot_be_is_blamed_on_its_key() -> None:
    options = dict(num_classes=3, dcls={"dilated_kernel_size": [7, 9], "kernel_count": 4, "match": 3, "share": None})
    model = create_model("mobilenetv2_035", **options)
    layers = [module for module in model.modules() if isinstance(module, dcls.Dcls2d)]
    assert len(layers) == 17 and {layer.dilated_kernel_size for layer in layers} == {(7, 9)}
    for change, key in [
        (dict(match=99), "match"),
        (dict(share="nowhere"), "share"),
        (dict(interpolation="cubic"), "interpolation"),
        (dict(dilated_kernel_size=[7, 7, 7]), "dilated_kernel_size"),
        (dict(interpolation="bilinear", initial_sigma=1.0), "initial_sigma"),
    ]:
        with pytest.raises(UserError) as error:
            create_model("mobilenetv2_035", **{**options, "dcls": {**options["dcls"], **change}})
        assert error.value.key == f"model.dcls.{key}" and "\n" not in str(error.value), str(error.value)


def test_new_layers_start_as_told() -> None:
    conversion = dict(
        dilated_kernel_size=15, kernel_count=9, initial_positions="uniform", initial_sigma=2.0, weight_std=0.5
    )
    model = create_model("convnext_atto", num_classes=3, dcls=conversion)
    layers = [module for module in model.modules() if isinstance(module, dcls.Dcls2d)]
    for layer in layers:
        assert (layer.sigma == 2).all() and layer.positions.detach().std() == pytest.approx(14 / 12**0.5, rel=0.1)
        assert layer.weight.detach().std() == pytest.approx(0.5, rel=0.15)
    torch.manual_seed(0)
    plain = create_model("convnext_atto", num_classes=3, dcls=dict(dilated_kernel_size=15, kernel_count=9))
    assert plain.stages[0].blocks[0].conv_dw.sigma.unique().item() == pytest.approx(0.23)
