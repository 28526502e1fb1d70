"""FastViT (arXiv:2303.14189) with DCLS in place of its 7x7 depthwise convolutions."""

from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.fastvit import FastVit, RepConditionalPosEnc

from .dcls_variant import DclsVariant
from .registration import build, describe, imagenet_cfg


class FastVitDcls(DclsVariant, FastVit):
    """timm's FastViT with ``dcls.Dcls2d`` in its MLPs and its position embedding; a stage shares positions.

    The convolutions between the stages double the channels; they are not depthwise and stay. On CPUs, train it with
    ``training.channels_last: false``: in that format PyTorch 2.14 crashes on timm's own FastViT, too.
    """

    match = 7
    share = "stage"


def _cfg(**kwargs: Any) -> dict[str, Any]:
    first_conv = ("stem.0.conv_kxk.0.conv", "stem.0.conv_scale.conv")
    size = dict(input_size=(3, 256, 256), pool_size=(8, 8), crop_pct=1.0)
    return imagenet_cfg(**size, first_conv=first_conv, classifier="head.fc", **kwargs)


_NAMES = (
    "fastvit_sa24_dcls_bilinear",
    "fastvit_sa24_dcls_gaussian",
    "fastvit_sa36_dcls_bilinear",
    "fastvit_sa36_dcls_gaussian",
)

default_cfgs = generate_default_cfgs(dict(describe(name, _cfg()) for name in _NAMES))

_SA = dict(
    embed_dims=(64, 128, 256, 512),
    mlp_ratios=(4, 4, 4, 4),
    pos_embs=(None, None, None, partial(RepConditionalPosEnc, spatial_shape=(7, 7))),
    token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
)
FASTVIT_SA24 = dict(_SA, layers=(4, 4, 12, 4))
_SA36 = dict(_SA, layers=(6, 6, 18, 6))
_BILINEAR = dict(dilated_kernel_size=17, kernel_count=34, interpolation="bilinear")
_GAUSSIAN = dict(dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], overrides: dict[str, Any]) -> FastVitDcls:
    return build(FastVitDcls, variant, pretrained, **{**defaults, **overrides})


@register_model
def fastvit_sa24_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> FastVitDcls:
    """FastViT-SA24, 34 elements in 17x17, normalized bilinear interpolation."""
    return _create("fastvit_sa24_dcls_bilinear", pretrained, dict(FASTVIT_SA24, **_BILINEAR), kwargs)


@register_model
def fastvit_sa24_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> FastVitDcls:
    """FastViT-SA24, 26 elements in 23x23, Gaussians of learned width."""
    return _create("fastvit_sa24_dcls_gaussian", pretrained, dict(FASTVIT_SA24, **_GAUSSIAN), kwargs)


@register_model
def fastvit_sa36_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> FastVitDcls:
    """FastViT-SA36, 34 elements in 17x17, normalized bilinear interpolation."""
    return _create("fastvit_sa36_dcls_bilinear", pretrained, dict(_SA36, **_BILINEAR), kwargs)


@register_model
def fastvit_sa36_dcls_gaussian(pretrained: bool = False, **kwargs: Any) -> FastVitDcls:
    """FastViT-SA36, 26 elements in 23x23, Gaussians of learned width."""
    return _create("fastvit_sa36_dcls_gaussian", pretrained, dict(_SA36, **_GAUSSIAN), kwargs)
