"""How a variant is described to timm and built by it."""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg
from torch import nn


def imagenet_cfg(**kwargs: Any) -> dict[str, Any]:
    """timm's description of a network for ImageNet-1k at 224 px; keyword arguments add to it."""
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


def build(model_type: type[nn.Module], variant: str, pretrained: bool, **kwargs: Any) -> Any:
    """Build a variant with features of its stages.

    Args:
        model_type: The network's class.
        variant: Registered name.
        pretrained: Load the weights that the variant's description names.
        **kwargs: Arguments of the network's constructor and of timm.
    """
    kwargs.setdefault("feature_cfg", dict(out_indices=(0, 1, 2, 3), flatten_sequential=True))
    return build_model_with_cfg(model_type, variant, pretrained, **kwargs)
