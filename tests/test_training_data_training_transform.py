import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.config import AugmentationConfig
from training.data.device_transform import DeviceTransform
from training.data.training_transform import TrainingTransform
from training.seeding import seed_generators

PREPROCESSING = Preprocessing((3, 48, 64), "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop_pct=1.0)
POLICIES = [None, "rand-m9-mstd0.5-inc1", "original-mstd0.5", "augmix-m5-w4-d2", "3a"]


def photo(seed: int = 0, height: int = 150, width: int = 200) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def timms(augmentation: AugmentationConfig):
    """timm's own transform, float images included."""
    return create_transform(
        PREPROCESSING.input_size, is_training=True, scale=augmentation.crop_scale, ratio=augmentation.crop_ratio,
        hflip=augmentation.horizontal_flip, vflip=augmentation.vertical_flip, color_jitter=augmentation.color_jitter,
        auto_augment=augmentation.auto_augment, interpolation=augmentation.crop_interpolation,
        mean=PREPROCESSING.mean, std=PREPROCESSING.std,
    )  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES)
def test_images_of_pillow_have_the_bits_of_timms_transform(policy) -> None:
    augmentation = AugmentationConfig(auto_augment=policy, random_erasing=0, vertical_flip=0.3)
    ours, expected = TrainingTransform(augmentation, PREPROCESSING), timms(augmentation)
    finish = DeviceTransform(PREPROCESSING, torch.device("cpu"))
    for seed in range(8):
        seed_generators(seed)
        pixels = ours(photo(seed))
        seed_generators(seed)
        images = finish(type(pixels)(*(values[None] for values in pixels)))
        assert torch.equal(images[0], expected(photo(seed)))


def test_rectangles_are_drawn_after_everything_else() -> None:
    plain = TrainingTransform(AugmentationConfig(random_erasing=0), PREPROCESSING)
    erasing = TrainingTransform(AugmentationConfig(random_erasing=1, random_erasing_count=2), PREPROCESSING)
    for seed in range(5):
        seed_generators(seed)
        expected = plain(photo())
        seed_generators(seed)
        pixels, erasures = erasing(photo())
        assert torch.equal(pixels, expected.pixels) and erasures.shape == (2, 5)
        assert erasures[0, 2] > 0 and expected.erasures.shape == (0, 5)


def test_an_unknown_policy_is_refused() -> None:
    augmentation = AugmentationConfig().model_copy(update={"auto_augment": "original-x9"})
    with pytest.raises(UserError, match=r"augmentation.auto_augment: timm does not understand 'original-x9'"):
        TrainingTransform(augmentation, PREPROCESSING)
