"""The receptive field of a trained model, measured: which pixels its middle output feature listens to.

The gradient of the positive part of the middle features, summed over the channels, with respect to the input; its
magnitude, summed over the colors and averaged over images, as shares of the sum over all pixels. The idea is that of
Luo et al. (arXiv:1701.04128). Ding et al. (RepLKNet, arXiv:2203.06717) measure something else: their code keeps the
positive part of the gradient, not its magnitude, on images of 1024x1024 pixels. So numbers of theirs cannot be compared
with these.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def receptive_field(model: nn.Module, images: Tensor) -> Tensor:
    """Measure the receptive field of the features before pooling.

    Args:
        model: One of timm's with ``forward_features``, in eval mode.
        images: (B, 3, H, W)

    Returns:
        (H, W), shares that sum to 1.

    Raises:
        ValueError: the model has no map of features, or nothing reaches its middle.
    """
    total = torch.zeros(images.shape[-2:])
    for image in images.split(1):  # one at a time: memory for one is enough
        image = image.clone().requires_grad_()
        with torch.enable_grad():
            target = F.relu(_middle(_feature_map(model, image))).sum()
            (gradient,) = torch.autograd.grad(target, image)
        total += gradient.abs().sum((0, 1))
    mass = total.sum()
    if not 0 < mass < torch.inf:
        raise ValueError("no gradient reaches the input")
    return total / mass


@torch.no_grad()
def with_surroundings(model: nn.Module, images: Tensor, least: int = 7) -> tuple[Tensor, int]:
    """Surround small images by their mirror images, so that a receptive field may be larger than they are.

    Args:
        model: As of ``receptive_field``.
        images: (B, 3, H, W)
        least: Side of the map of features from which on images stay as they are.

    Returns:
        (B, 3, k * H, k * W), and k: odd, and 1 where the map is large enough or the model takes no other size.

    Raises:
        ValueError: the model has no map of features.
    """
    factor = -(-least // min(_feature_map(model, images[:1]).shape[-2:])) // 2 * 2 + 1
    enlarged = mirrored(images, factor)
    try:
        _feature_map(model, enlarged[:1])
    except (ValueError, RuntimeError, AssertionError):  # its layers know the size of the image
        return images, 1
    return enlarged, factor


def mirrored(images: Tensor, factor: int) -> Tensor:
    """Repeat images (B, 3, H, W) an odd number of times along both sides, every other one mirrored."""
    for axis in (-1, -2):
        images = torch.cat([images if (at - factor // 2) % 2 == 0 else images.flip(axis) for at in range(factor)], axis)
    return images


def share_within_squares(field: Tensor) -> Tensor:
    """Return the share of a receptive field, (H, W), within centered squares of side 2, 4, ... or 1, 3, ... pixels.

    Returns:
        One share for each distance from the center to the farther border, in steps of a pixel.
    """
    height, width = field.shape
    rows, columns = (torch.arange(size) - (size - 1) / 2 for size in (height, width))
    distance = torch.maximum(rows.abs()[:, None], columns.abs()[None, :])  # 0, 1, ... or 0.5, 1.5, ...
    sums = torch.zeros(max(height, width) // 2 + 1, dtype=torch.float64)
    sums.index_add_(0, distance.floor().long().flatten(), field.double().flatten())
    return sums.cumsum(0)[: (max(height, width) + 1) // 2]


def side_that_holds(field: Tensor, share: float = 0.5) -> int:
    """Return the side of the smallest centered square that holds this share of a receptive field, in pixels."""
    within = share_within_squares(field)
    steps = int((within < share - 1e-6).sum())
    return 2 * min(steps, len(within) - 1) + (1 if max(field.shape) % 2 else 2)


def _feature_map(model: Any, image: Tensor) -> Tensor:
    """Return the features before pooling as (1, C, H, W).

    Raises:
        ValueError: there is no such map.
    """
    if not hasattr(model, "forward_features"):
        raise ValueError(f"{type(model).__name__} has no forward_features")
    features = model.forward_features(image)
    channels = getattr(model, "num_features", None)
    if isinstance(features, Tensor) and features.ndim == 3:  # tokens, some of them without a place
        features = features[:, getattr(model, "num_prefix_tokens", 0) :]
        side = round(features.shape[1] ** 0.5)
        if side * side == features.shape[1]:
            return features.transpose(1, 2).unflatten(2, (side, side))
    if isinstance(features, Tensor) and features.ndim == 4:
        is_channels_last = features.shape[1] != channels and features.shape[-1] == channels
        return features.permute(0, 3, 1, 2) if is_channels_last else features
    raise ValueError(f"{type(model).__name__} has no map of features")


def _middle(features: Tensor) -> Tensor:
    """Return the middle of (1, C, H, W): one feature a channel, or all nearest to the center where a side is even."""
    height, width = features.shape[-2:]
    return features[..., (height - 1) // 2 : height // 2 + 1, (width - 1) // 2 : width // 2 + 1]
