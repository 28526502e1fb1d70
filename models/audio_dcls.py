"""The DCLS models for spectrograms: another stem, 1 x 128 x 1001 inputs, the 527 classes of AudioSet."""

from typing import Any

from timm.layers import trunc_normal_
from timm.models import generate_default_cfgs, register_model
from torch import nn

from .convnext_dcls import CONVNEXT_TINY, ConvNeXtDcls
from .fastvit_dcls import FASTVIT_SA24, FastVitDcls
from .metaformer_dcls import CONVFORMER_S18, MetaFormerDcls
from .registration import build, describe

PATCH = (2, 16)  # mel bands, frames
AUDIOSET_CLASSES = 527
_KERNELS = dict(dilated_kernel_size=23, kernel_count=26, interpolation="gaussian")
_INPUT = dict(in_chans=1, num_classes=AUDIOSET_CLASSES)


def _patches(in_chans: int, width: int, *, bias: bool) -> nn.Conv2d:
    """Patches of the spectrogram that do not overlap."""
    conv = nn.Conv2d(in_chans, width, PATCH, stride=PATCH, bias=bias)
    trunc_normal_(conv.weight, std=0.02)
    return conv


class ConvNeXtAudio(ConvNeXtDcls):
    """ConvNeXt with DCLS whose stem cuts a spectrogram into patches of 2 x 16."""

    def __init__(self, in_chans: int = 1, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, **kwargs)
        stem: Any = self.stem
        stem[0] = _patches(in_chans, stem[0].out_channels, bias=True)


class MetaFormerAudio(MetaFormerDcls):
    """ConvFormer with DCLS whose stem cuts a spectrogram into patches of 2 x 16."""

    def __init__(self, in_chans: int = 1, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, **kwargs)
        stem: Any = self.stem
        stem.conv = _patches(in_chans, stem.conv.out_channels, bias=False)


class FastVitAudio(FastVitDcls):
    """FastViT with DCLS whose whole stem is the cutting of a spectrogram into patches of 2 x 16."""

    def __init__(self, in_chans: int = 1, embed_dims: tuple[int, ...] = (64, 128, 256, 512), **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dims=embed_dims, **kwargs)
        self.stem = _patches(in_chans, embed_dims[0], bias=False)  # type: ignore[assignment]  # timm's is a Sequential


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "url": "",
        "num_classes": AUDIOSET_CLASSES,
        "input_size": (1, 128, 1001),
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (-18.2696,),
        "std": (30.5735,),
        "license": "apache-2.0",
        **kwargs,
    }


default_cfgs = generate_default_cfgs(
    dict(
        [
            describe("convnext_tiny_dcls_audio", _cfg(first_conv="stem.0", classifier="head.fc")),
            describe("convformer_s18_dcls_audio", _cfg(first_conv="stem.conv", classifier="head.fc.fc2")),
            describe("fastvit_sa24_dcls_audio", _cfg(first_conv="stem", classifier="head.fc")),
        ]
    )
)


@register_model
def convnext_tiny_dcls_audio(pretrained: bool = False, **kwargs: Any) -> ConvNeXtAudio:
    """ConvNeXt-T for AudioSet, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(CONVNEXT_TINY, **_INPUT, **_KERNELS)
    return build(ConvNeXtAudio, "convnext_tiny_dcls_audio", pretrained, **{**defaults, **kwargs})


@register_model
def convformer_s18_dcls_audio(pretrained: bool = False, **kwargs: Any) -> MetaFormerAudio:
    """ConvFormer-S18 for AudioSet, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(CONVFORMER_S18, **_INPUT, **_KERNELS)
    return build(MetaFormerAudio, "convformer_s18_dcls_audio", pretrained, **{**defaults, **kwargs})


@register_model
def fastvit_sa24_dcls_audio(pretrained: bool = False, **kwargs: Any) -> FastVitAudio:
    """FastViT-SA24 for AudioSet, 26 elements in 23x23, Gaussians of learned width."""
    defaults = dict(FASTVIT_SA24, **_INPUT, **_KERNELS)
    return build(FastVitAudio, "fastvit_sa24_dcls_audio", pretrained, **{**defaults, **kwargs})
