"""How a variant is described to timm and built by it."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import PretrainedCfg, build_model_with_cfg
from torch import nn

from dcls.checkpoints.reading import read_weights

from .released.releases import release_of
from .released.upstream import to_model

RELEASED = "released"
"""Tag of the weights that the authors released."""
_SOURCES = {"url", "file", "state_dict", "hf_hub_id", "source"}
"""What in timm's description of weights says where they are."""


def imagenet_cfg(**kwargs: Any) -> dict[str, Any]:
    """timm's description of a model for ImageNet-1k at 224 px; keyword arguments add to it."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "license": "apache-2.0",
        **kwargs,
    }


def describe(name: str, cfg: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """timm's description of an architecture under its name, with a tag for the released file if there is one."""
    release = release_of(name)
    if release is None:
        return name, cfg
    origin = f"https://zenodo.org/records/{release.record}"
    claim = f"reported: {release.reported}; {release.source}"
    return f"{name}.{RELEASED}", {**cfg, "url": release.url, "origin_url": origin, "license": None, "notes": (claim,)}


def build(model_type: type[nn.Module], variant: str, pretrained: bool, **kwargs: Any) -> Any:
    """Build a variant with features of its stages.

    Args:
        model_type: The model's class.
        variant: Registered name.
        pretrained: Load the released file that belongs to the variant.
        **kwargs: Arguments of the model's constructor and of timm.

    Raises:
        UserError: the released file cannot be downloaded or read.
    """
    kwargs.setdefault("feature_cfg", dict(out_indices=(0, 1, 2, 3), flatten_sequential=True))
    release, overlay = release_of(variant), kwargs.get("pretrained_cfg_overlay") or {}
    is_elsewhere = isinstance(kwargs.get("pretrained_cfg"), dict | PretrainedCfg) or not _SOURCES.isdisjoint(overlay)
    if pretrained and release is not None and not is_elsewhere:
        from .released.download import fetch  # only now: building a model needs no downloader

        weights = read_weights(fetch(release, kwargs.get("cache_dir")))
        kwargs["pretrained_cfg_overlay"] = {**overlay, "state_dict": weights}
    model: Any = build_model_with_cfg(model_type, variant, pretrained, pretrained_filter_fn=to_model, **kwargs)
    model.pretrained_cfg.pop("state_dict", None)  # or every copy of the model would carry the file's weights
    return model
