"""ResNet (arXiv:1512.03385) with DCLS in place of its dense 3x3 convolutions."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import Bottleneck, ResNet

from .dcls_variant import DclsVariant
from .registration import build, describe, imagenet_cfg


class ResNetDcls(DclsVariant, ResNet):
    """timm's ResNet whose bottlenecks hold a dense ``dcls.Dcls2d`` as ``conv2``; every layer has its own positions."""

    match = "layer*.conv2"
    share = None


_CFG = imagenet_cfg(crop_pct=0.875, interpolation="bilinear", first_conv="conv1", classifier="fc")

default_cfgs = generate_default_cfgs(dict([describe("resnet50_dcls_bilinear_unnormalized", _CFG)]))


@register_model
def resnet50_dcls_bilinear_unnormalized(pretrained: bool = False, **kwargs: Any) -> ResNetDcls:
    """ResNet-50, 5 elements in 7x7, the bilinear interpolation of the first paper."""
    kernels = dict(dilated_kernel_size=7, kernel_count=5, interpolation="bilinear_unnormalized")
    defaults = dict(block=Bottleneck, layers=(3, 4, 6, 3), feature_cfg={}, **kernels)
    return build(ResNetDcls, "resnet50_dcls_bilinear_unnormalized", pretrained, **{**defaults, **kwargs})
