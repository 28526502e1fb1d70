"""ConvFormer (MetaFormer baselines, arXiv:2210.13452) with DCLS in place of its 7x7 depthwise convolutions."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.metaformer import LayerNorm2dNoBias, MetaFormer, SepConv, checkpoint_filter_fn

import dcls
from models.stages import use_dcls


class MetaFormerDcls(MetaFormer):
    """timm's MetaFormer whose ``SepConv`` mixers hold a ``dcls.Dcls2d`` as ``dwconv``, with shared positions a stage.

    Args:
        dilated_kernel_size: Extent of the dense kernels.
        kernel_count: Learned elements a channel.
        interpolation: A name of ``dcls.INTERPOLATIONS``.
        **kwargs: As timm's ``MetaFormer``.
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
        use_dcls(self.stages, "token_mixer.dwconv", dilated_kernel_size, kernel_count, interpolation)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer decay, which timm's MetaFormer lacks: stem, blocks in their order, head.

        Downsampling and shared positions count to their stage's first block.
        """
        stage = r"^stages\.(\d+)"
        fine = [
            (r"^stages\.(\d+)\.(?:downsample|shared)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
        ]
        return dict(stem=r"^stem", blocks=stage if coarse else fine)

    def no_weight_decay(self) -> set[str]:
        """Positions and spreads, for timm's own training scripts."""
        return dcls.position_names(self)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc.fc2",
        "license": "apache-2.0",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    {
        "convformer_s18_dcls_bilinear": _cfg(),
        "convformer_s18_dcls_triangle": _cfg(),
        "convformer_s18_dcls_gauss": _cfg(),
        "convformer_xs12_dcls_gauss": _cfg(),
    }
)


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], overrides: dict[str, Any]) -> MetaFormerDcls:
    return build_model_with_cfg(
        MetaFormerDcls,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), flatten_sequential=True),
        **{**defaults, **overrides},
    )


_CONVFORMER = dict(token_mixers=SepConv, norm_layers=LayerNorm2dNoBias)
_S18 = dict(_CONVFORMER, depths=(3, 3, 9, 3), dims=(64, 128, 320, 512))
_XS12 = dict(_CONVFORMER, depths=(2, 2, 6, 2), dims=(32, 64, 160, 256))


@register_model
def convformer_s18_dcls_bilinear(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer-S18, 40 elements in 17x17, normalised bilinear interpolation."""
    defaults = dict(_S18, dilated_kernel_size=17, kernel_count=40, interpolation="bilinear")
    return _create("convformer_s18_dcls_bilinear", pretrained, defaults, kwargs)


@register_model
def convformer_s18_dcls_triangle(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer-S18, 26 elements in 23x23, triangles of learned width."""
    defaults = dict(_S18, dilated_kernel_size=23, kernel_count=26, interpolation="triangle")
    return _create("convformer_s18_dcls_triangle", pretrained, defaults, kwargs)


@register_model
def convformer_s18_dcls_gauss(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """ConvFormer-S18, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(_S18, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convformer_s18_dcls_gauss", pretrained, defaults, kwargs)


@register_model
def convformer_xs12_dcls_gauss(pretrained: bool = False, **kwargs: Any) -> MetaFormerDcls:
    """A ConvFormer of 12 narrow blocks, 26 elements in 23x23, Gaussians of learned width: for quick runs."""
    defaults = dict(_XS12, dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
    return _create("convformer_xs12_dcls_gauss", pretrained, defaults, kwargs)
