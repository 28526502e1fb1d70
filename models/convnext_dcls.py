"""ConvNeXt (arXiv:2201.03545) with DCLS in place of its 7x7 depthwise convolutions."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt

from .dcls_variant import DclsVariant
from .registration import build, describe, imagenet_cfg


class ConvNeXtDcls(DclsVariant, ConvNeXt):
    """timm's ConvNeXt whose blocks hold a ``dcls.Dcls2d`` as ``conv_dw``; a stage's blocks share their positions."""

    match = "stages.*.conv_dw"
    share = "stages.*"


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return imagenet_cfg(crop_pct=0.875, first_conv="stem.0", classifier="head.fc", **kwargs)


_NAMES = (
    "convnext_tiny_dcls_bilinear_unnormalized",
    "convnext_tiny_dcls_triangle",
    "convnext_tiny_dcls_gaussian",
    "convnext_small_dcls_bilinear_unnormalized",
    "convnext_small_dcls_gaussian",
    "convnext_base_dcls_bilinear_unnormalized",
    "convnext_base_dcls_gaussian",
    "convnext_atto_dcls_bilinear",
    "convnext_atto_dcls_triangle",
    "convnext_atto_dcls_gaussian",
)

default_cfgs = generate_default_cfgs(dict(describe(name, _cfg()) for name in _NAMES))


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], overrides: dict[str, Any]) -> ConvNeXtDcls:
    return build(ConvNeXtDcls, variant, pretrained, **{**defaults, **overrides})


CONVNEXT_TINY = dict(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768))
_SMALL = dict(depths=(3, 3, 27, 3), dims=(96, 192, 384, 768))
_BASE = dict(depths=(3, 3, 27, 3), dims=(128, 256, 512, 1024))
_ATTO = dict(depths=(2, 2, 6, 2), dims=(40, 80, 160, 320), conv_mlp=True)


@register_model
def convnext_tiny_dcls_bilinear_unnormalized(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-T, 34 elements in 17x17, the bilinear interpolation of the first paper."""
    defaults = dict(CONVNEXT_TINY, dilated_kernel_size=17, kernel_count=34, interpolation="bilinear_unnormalized")
    return _create("convnext_tiny_dcls_bilinear_unnormalized", pretrained, defaults, kwargs)


@register_model
def convnext_tiny_dcls_triangle(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-T, 26 elements in 23x23, triangles of learned width."""
    defaults = dict(CONVNEXT_TINY, dilated_kernel_size=23, kernel_count=26, interpolation="triangle")
    return _create("convnext_tiny_dcls_triangle", pretrained, defaults, kwargs)


@register_model
def convnext_tiny_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-T, 26 elements in 23x23, Gaussians of learned width: the paper's best row."""
    defaults = dict(CONVNEXT_TINY, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convnext_tiny_dcls_gaussian", pretrained, defaults, kwargs)


@register_model
def convnext_small_dcls_bilinear_unnormalized(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-S, 40 elements in 17x17, the bilinear interpolation of the first paper."""
    defaults = dict(_SMALL, dilated_kernel_size=17, kernel_count=40, interpolation="bilinear_unnormalized")
    return _create("convnext_small_dcls_bilinear_unnormalized", pretrained, defaults, kwargs)


@register_model
def convnext_small_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-S, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(_SMALL, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convnext_small_dcls_gaussian", pretrained, defaults, kwargs)


@register_model
def convnext_base_dcls_bilinear_unnormalized(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-B, 40 elements in 17x17, the bilinear interpolation of the first paper."""
    defaults = dict(_BASE, dilated_kernel_size=17, kernel_count=40, interpolation="bilinear_unnormalized")
    return _create("convnext_base_dcls_bilinear_unnormalized", pretrained, defaults, kwargs)


@register_model
def convnext_base_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-B, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(_BASE, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convnext_base_dcls_gaussian", pretrained, defaults, kwargs)


@register_model
def convnext_atto_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """timm's ConvNeXt-Atto, 26 elements in 23x23, normalized bilinear interpolation: for quick runs."""
    defaults = dict(_ATTO, dilated_kernel_size=23, kernel_count=26, interpolation="bilinear")
    return _create("convnext_atto_dcls_bilinear", pretrained, defaults, kwargs)


@register_model
def convnext_atto_dcls_triangle(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """timm's ConvNeXt-Atto, 26 elements in 23x23, triangles of learned width: for quick runs."""
    defaults = dict(_ATTO, dilated_kernel_size=23, kernel_count=26, interpolation="triangle")
    return _create("convnext_atto_dcls_triangle", pretrained, defaults, kwargs)


@register_model
def convnext_atto_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """timm's ConvNeXt-Atto, 26 elements in 23x23, Gaussians of learned width: for quick runs."""
    defaults = dict(_ATTO, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convnext_atto_dcls_gaussian", pretrained, defaults, kwargs)
