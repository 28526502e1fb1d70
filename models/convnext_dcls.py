"""ConvNeXt (arXiv:2201.03545) with DCLS in place of its 7x7 depthwise convolutions."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt, checkpoint_filter_fn

import dcls
from models.stages import use_dcls


class ConvNeXtDcls(ConvNeXt):
    """timm's ConvNeXt whose blocks hold a ``dcls.Dcls2d`` as ``conv_dw``; a stage's blocks share their positions.

    Args:
        dilated_kernel_size: Extent of the dense kernels.
        kernel_count: Learned elements a channel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        **kwargs: As timm's ``ConvNeXt``.
    """

    def __init__(
        self,
        *args: Any,
        dilated_kernel_size: int = 23,
        kernel_count: int = 26,
        interpolation: str = "gaussian",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        use_dcls(self.stages, "conv_dw", dilated_kernel_size, kernel_count, interpolation)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer decay: shared positions count to their stage's first block, the earliest to use them."""
        matcher = super().group_matcher(coarse)
        if not coarse:
            matcher["blocks"] = [(r"^stages\.(\d+)\.shared", (0,)), *matcher["blocks"]]
        return matcher

    def no_weight_decay(self) -> set[str]:
        """Positions and spreads, for timm's own training scripts."""
        return dcls.position_names(self)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.0",
        "classifier": "head.fc",
        "license": "apache-2.0",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        "convnext_tiny_dcls_bilinear": _cfg(),
        "convnext_tiny_dcls_triangle": _cfg(),
        "convnext_tiny_dcls_gauss": _cfg(),
        "convnext_atto_dcls_gauss": _cfg(),
    }
)


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], overrides: dict[str, Any]) -> ConvNeXtDcls:
    return build_model_with_cfg(
        ConvNeXtDcls,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), flatten_sequential=True),
        **{**defaults, **overrides},
    )


_TINY = dict(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768))
_ATTO = dict(depths=(2, 2, 6, 2), dims=(40, 80, 160, 320), conv_mlp=True)


@register_model
def convnext_tiny_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-T, 34 elements in 17x17, the bilinear interpolation of the first paper."""
    defaults = dict(_TINY, dilated_kernel_size=17, kernel_count=34, interpolation="bilinear_unnormalized")
    return _create("convnext_tiny_dcls_bilinear", pretrained, defaults, kwargs)


@register_model
def convnext_tiny_dcls_triangle(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-T, 26 elements in 23x23, triangles of learned width."""
    defaults = dict(_TINY, dilated_kernel_size=23, kernel_count=26, interpolation="triangle")
    return _create("convnext_tiny_dcls_triangle", pretrained, defaults, kwargs)


@register_model
def convnext_tiny_dcls_gauss(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """ConvNeXt-T, 26 elements in 23x23, Gaussians of learned width: the paper's best row."""
    defaults = dict(_TINY, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convnext_tiny_dcls_gauss", pretrained, defaults, kwargs)


@register_model
def convnext_atto_dcls_gauss(pretrained: bool = False, **kwargs: Any) -> ConvNeXtDcls:
    """timm's ConvNeXt-Atto, 26 elements in 23x23, Gaussians of learned width: for quick runs."""
    defaults = dict(_ATTO, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convnext_atto_dcls_gauss", pretrained, defaults, kwargs)
