"""Weights as the authors released them, made here in small sizes."""

import timm
import torch
from torch import nn

import models  # noqa: F401
from parity.reference import put_reference_layers


def tiny_reference() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """timm's ResNet-50 with narrow layers, the reference's layers in it, and its state under the released names."""
    torch.manual_seed(0)
    sizes = dict(layers=(1, 1, 1, 1), num_classes=5)
    model = timm.create_model("resnet50", **sizes)
    ours = timm.create_model("resnet50_dcls_bilinear_unnormalized", kernel_count=5, dilated_kernel_size=7, **sizes)
    with torch.no_grad():
        for layer in put_reference_layers(model, ours).values():
            layer.P.uniform_(-3, 3)
    return model.eval(), model.state_dict()


def released_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """A ConvNeXt's weights under the names of the released files."""
    state = {}
    for name, value in model.state_dict().items():
        if ".shared." in name:
            continue
        new = name.replace("stem.", "downsample_layers.0.").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        for stage in range(4):
            new = new.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        state[new.replace(".blocks.", ".").replace("head.norm", "norm").replace("head.fc", "head")] = value
    for index, stage in enumerate(model.stages):
        for block in range(len(stage.blocks)):
            state[f"stages.{index}.{block}.dwconv.P"] = stage.blocks[0].conv_dw.positions.detach().flip(0)
            state[f"stages.{index}.{block}.dwconv.SIG"] = stage.blocks[0].conv_dw.sigma.detach().flip(0)
    return state
