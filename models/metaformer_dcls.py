"""ConvFormer and CAFormer (MetaFormer baselines, arXiv:2210.13452) with DCLS in place of 7x7 depthwise convolutions."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.metaformer import (
    Attention,
    LayerNorm2dNoBias,
    LayerNormNoBias,
    MetaFormer,
    MlpHead,
    SepConv,
)

from .dcls_variant import DclsVariant
from .registration import build, describe, imagenet_cfg


class MetaFormerDcls(DclsVariant, MetaFormer):
    """timm's MetaFormer whose ``SepConv`` mixers hold a ``dcls.Dcls2d`` as ``dwconv``; a stage shares positions."""

    match = "stages.*.token_mixer.dwconv"
    share = "stages.*"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._use_original_eps()

    def reset_classifier(self, *args: Any, **kwargs: Any) -> None:
        """As timm's, with the norm of the original."""
        super().reset_classifier(*args, **kwargs)
        self._use_original_eps()

    def _use_original_eps(self) -> None:
        """Normalize in the head with the original's 1e-5; with timm's 1e-6 logits would differ by 1e-3."""
        head: Any = self.head
        if isinstance(head.fc, MlpHead):
            norm: Any = head.fc.norm
            norm.eps = 1e-5

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer decay, which timm's MetaFormer lacks: stem, blocks in their order, head.

        Downsampling counts to its stage's first block, as do shared positions, which that block holds.
        """
        stage = r"^stages\.(\d+)"
        fine = [
            (r"^stages\.(\d+)\.downsample", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
        ]
        return dict(stem=r"^stem", blocks=stage if coarse else fine)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return imagenet_cfg(crop_pct=1.0, first_conv="stem.conv", classifier="head.fc.fc2", **kwargs)


_NAMES = (
    "convformer_s18_dcls_bilinear",
    "convformer_s18_dcls_triangle",
    "convformer_s18_dcls_gaussian",
    "convformer_xs12",
    "convformer_xs12_dcls_bilinear",
    "convformer_xs12_dcls_triangle",
    "convformer_xs12_dcls_gaussian",
    "caformer_s18_dcls_bilinear",
    "caformer_s18_dcls_gaussian",
)

default_cfgs = generate_default_cfgs(dict(describe(name, _cfg()) for name in _NAMES))


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], overrides: dict[str, Any]) -> MetaFormerDcls:
    return build(MetaFormerDcls, variant, pretrained, **{**defaults, **overrides})


_CONVFORMER = dict(token_mixers=SepConv, norm_layers=LayerNorm2dNoBias)
_CAFORMER = dict(
    token_mixers=[SepConv, SepConv, Attention, Attention],
    norm_layers=[LayerNorm2dNoBias, LayerNorm2dNoBias, LayerNormNoBias, LayerNormNoBias],
)
_S18 = dict(depths=(3, 3, 9, 3), dims=(64, 128, 320, 512))
CONVFORMER_S18 = dict(_CONVFORMER, **_S18)
_XS12 = dict(depths=(2, 2, 6, 2), dims=(32, 64, 160, 256))


@register_model
def convformer_s18_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer-S18, 40 elements in 17x17, normalized bilinear interpolation."""
    defaults = dict(CONVFORMER_S18, dilated_kernel_size=17, kernel_count=40, interpolation="bilinear")
    return _create("convformer_s18_dcls_bilinear", pretrained, defaults, kwargs)


@register_model
def convformer_s18_dcls_triangle(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer-S18, 26 elements in 23x23, triangles of learned width."""
    defaults = dict(CONVFORMER_S18, dilated_kernel_size=23, kernel_count=26, interpolation="triangle")
    return _create("convformer_s18_dcls_triangle", pretrained, defaults, kwargs)


@register_model
def convformer_s18_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer-S18, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(CONVFORMER_S18, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convformer_s18_dcls_gaussian", pretrained, defaults, kwargs)


@register_model
def convformer_xs12(pretrained: bool = False, **kwargs: Any) -> MetaFormer:
    """ConvFormer of 12 narrow blocks with 7x7 convolutions, which timm lacks: the baseline of the next ones."""
    defaults = dict(_CONVFORMER, **_XS12)
    return build(MetaFormer, "convformer_xs12", pretrained, **{**defaults, **kwargs})


@register_model
def convformer_xs12_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer of 12 narrow blocks, 26 elements in 23x23, normalized bilinear interpolation: for quick runs."""
    defaults = dict(_CONVFORMER, **_XS12, dilated_kernel_size=23, kernel_count=26, interpolation="bilinear")
    return _create("convformer_xs12_dcls_bilinear", pretrained, defaults, kwargs)


@register_model
def convformer_xs12_dcls_triangle(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer of 12 narrow blocks, 26 elements in 23x23, triangles of learned width: for quick runs."""
    defaults = dict(_CONVFORMER, **_XS12, dilated_kernel_size=23, kernel_count=26, interpolation="triangle")
    return _create("convformer_xs12_dcls_triangle", pretrained, defaults, kwargs)


@register_model
def convformer_xs12_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer of 12 narrow blocks, 26 elements in 23x23, Gaussians of learned width: for quick runs."""
    defaults = dict(_CONVFORMER, **_XS12, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convformer_xs12_dcls_gaussian", pretrained, defaults, kwargs)


@register_model
def caformer_s18_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """CAFormer-S18, 34 elements in 17x17, normalized bilinear interpolation; stages 3 and 4 attend."""
    defaults = dict(_CAFORMER, **_S18, dilated_kernel_size=17, kernel_count=34, interpolation="bilinear")
    return _create("caformer_s18_dcls_bilinear", pretrained, defaults, kwargs)


@register_model
def caformer_s18_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """CAFormer-S18, 26 elements in 23x23, Gaussians of learned width; stages 3 and 4 attend."""
    defaults = dict(_CAFORMER, **_S18, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("caformer_s18_dcls_gaussian", pretrained, defaults, kwargs)
