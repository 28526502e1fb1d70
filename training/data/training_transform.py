"""How a training image is varied: timm's transforms, and the same on JPEG files in less time."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.config import AugmentationConfig
from training.data.device_transform import Pixels, RandomErasures
from training.data.encoded_jpeg import EncodedJpeg
from training.data.fast_crop import FastCrop
from training.data.rand_augment import on_arrays


class TrainingTransform:
    """timm's random crop, flips, colors and policy, and the rectangles to erase later.

    Pillow's images go through timm's own transforms. JPEG files go another way, which draws the same random numbers
    in the same order; what it makes of them differs by the rounding of the resize.

    Raises:
        UserError: timm does not know the policy.
    """

    def __init__(self, augmentation: AugmentationConfig, preprocessing: Preprocessing) -> None:
        self.crop, self.vary = timm_transforms(augmentation, preprocessing)
        self.fast_crop = FastCrop(self.crop) if augmentation.crop_interpolation != "nearest" else None
        self.fast_vary = on_arrays(self.vary)
        self.erasures = RandomErasures(augmentation.random_erasing, augmentation.random_erasing_count)

    def __call__(self, image: Image.Image | EncodedJpeg) -> Pixels:
        """Transform an RGB image.

        Raises:
            DecodingError: a JPEG file cannot be decoded.
        """
        pixels = self._varied(image)
        return Pixels(pixels, self.erasures(*pixels.shape[:2]))

    def _varied(self, image: Image.Image | EncodedJpeg) -> Tensor:
        if isinstance(image, EncodedJpeg):
            if self.fast_crop is not None:
                return self.fast_vary(self.fast_crop(image))
            image = image.image()
        return torch.from_numpy(np.array(self.vary(self.crop(image))))


def timm_transforms(augmentation: AugmentationConfig, preprocessing: Preprocessing) -> tuple[Any, Any]:
    """Return timm's transforms of Pillow's images: crop and flips; colors and policy.

    Raises:
        UserError: timm does not know the policy.
    """
    try:
        crop, vary, _ = create_transform(
            preprocessing.input_size,
            is_training=True,
            scale=(augmentation.crop_scale[0], augmentation.crop_scale[1]),
            ratio=(augmentation.crop_ratio[0], augmentation.crop_ratio[1]),
            hflip=augmentation.horizontal_flip,
            vflip=augmentation.vertical_flip,
            color_jitter=augmentation.color_jitter,
            auto_augment=augmentation.auto_augment,
            interpolation=augmentation.crop_interpolation,
            mean=preprocessing.mean,
            separate=True,
        )
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"timm does not understand {augmentation.auto_augment!r} ({error})",
            "a policy looks like rand-m9-mstd0.5-inc1",
            key="augmentation.auto_augment",
            on_every_rank=True,
        ) from error
    return crop, vary
