"""timm's random resized crop and flips, of an image of which only the crop is decoded."""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomHorizontalFlip, RandomVerticalFlip

from training.data.encoded_jpeg import EncodedJpeg

_WIDTH, _HEIGHT = 3, 2


class FastCrop:
    """Crop, resize and flip: as timm's transforms draw it, with their pixels up to rounding.

    PyTorch resizes 8-bit images as Pillow does, with weights of 16 instead of 22 bits.

    Args:
        transform: timm's ``RandomResizedCropAndInterpolation``, followed by torchvision's flips.

    Raises:
        ValueError: it resizes in another way than bilinear and bicubic.
    """

    def __init__(self, transform: Any) -> None:
        self.crop, *flips = transform.transforms
        choices = self.crop.interpolation
        self.interpolations = tuple(choices) if isinstance(choices, list | tuple) else (choices,)
        if not set(self.interpolations) <= {InterpolationMode.BILINEAR, InterpolationMode.BICUBIC}:
            raise ValueError(f"cannot resize by {self.interpolations}")
        axes = {RandomHorizontalFlip: _WIDTH, RandomVerticalFlip: _HEIGHT}
        self.flips = [(axes[type(flip)], flip.p) for flip in flips]

    def __call__(self, image: EncodedJpeg) -> Tensor:
        """Return the crop, (H, W, 3) uint8."""
        rectangle = self.crop.get_params(torch.empty(1).expand(1, *image.size), self.crop.scale, self.crop.ratio)
        several = len(self.interpolations) > 1
        interpolation = random.choice(self.interpolations) if several else self.interpolations[0]
        pixels = image.rectangle(*rectangle).permute(2, 0, 1)[None]  # (1, 3, h, w) in channels last
        pixels = F.interpolate(pixels, self.crop.size, mode=interpolation.value, antialias=True)
        for axis, probability in self.flips:
            if torch.rand(1) < probability:
                pixels = pixels.flip(axis)
        return pixels[0].permute(1, 2, 0).contiguous()
