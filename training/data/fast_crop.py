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
        return self.resize(self.decode(image))

    def decode(self, image: EncodedJpeg) -> Tensor:
        """Draw the rectangle of an image, and decode it: (h, w, 3) uint8."""
        size = torch.empty(1).expand(1, *image.size)  # timm asks an image for it
        return image.rectangle(*self.crop.get_params(size, self.crop.scale, self.crop.ratio))

    def resize(self, rectangle: Tensor) -> Tensor:
        """(h, w, 3) -> (H, W, 3) uint8, flipped or not."""
        several = len(self.interpolations) > 1
        mode = (random.choice(self.interpolations) if several else self.interpolations[0]).value
        pixels = rectangle[None].permute(0, 3, 1, 2)  # in this order, or PyTorch sees no channels last
        pixels = F.interpolate(pixels, self.crop.size, mode=mode, antialias=True)
        for axis, probability in self.flips:
            if torch.rand(1) < probability:
                pixels = pixels.flip(axis)
        return pixels[0].permute(1, 2, 0).contiguous()
