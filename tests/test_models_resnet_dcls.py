import timm
import torch

import dcls
import models  # noqa: F401


def test_every_bottleneck_has_a_dense_layer_with_positions_of_its_own() -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet50_dcls_bilinear_unnormalized")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, dcls.Dcls2d)}
    assert len(layers) == 16 and all(name.endswith(".conv2") for name in layers)
    assert len({id(layer.positions) for layer in layers.values()}) == 16
    strides = {name: layer.stride for name, layer in layers.items() if layer.stride != (1, 1)}
    assert strides == {f"layer{stage}.0.conv2": (2, 2) for stage in (2, 3, 4)}, "where timm's ResNet has them"
