"""The functions themselves; tests/test_training_data_rand_augment.py compares all that timm does with them."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from training.data import native_pixels

pytestmark = pytest.mark.skipif(not native_pixels.is_available(), reason="no compiler")


@pytest.fixture
def image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (23, 37, 3), dtype=np.uint8))


def test_values_are_counted(image) -> None:
    assert native_pixels.count_values(image).flatten().tolist() == Image.fromarray(image.numpy()).histogram()


def test_gray(image) -> None:
    gray = np.asarray(Image.fromarray(image.numpy()).convert("L"))
    assert native_pixels.mean_gray(image) == gray.mean()


def test_tables_of_each_color(image) -> None:
    table = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 256), dtype=np.uint8))
    expected = torch.stack([table[color][image[..., color].long()] for color in range(3)], dim=2)
    assert torch.equal(native_pixels.look_up(image, table), expected)


@pytest.mark.parametrize("share", [-0.5, 0.0, 0.3, 1.0, 1.7, 30.0])
def test_mixtures(image, share) -> None:
    pillow = Image.fromarray(image.numpy())
    for ours, theirs in (
        (native_pixels.blend_gray, ImageEnhance.Color),
        (native_pixels.blend_smooth, ImageEnhance.Sharpness),
    ):
        assert np.array_equal(ours(image, share).numpy(), np.asarray(theirs(pillow).enhance(share)))


@pytest.mark.parametrize("cubic", [True, False])
def test_any_affine_map(image, cubic) -> None:
    generator, fill = np.random.default_rng(0), (1, 2, 3)
    resample = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    for _ in range(20):
        matrix = (np.array([1, 0, 0, 0, 1, 0]) + generator.normal(0, [0.5, 0.5, 9, 0.5, 0.5, 9])).tolist()
        expected = Image.fromarray(image.numpy()).transform(
            (37, 23), Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill
        )
        assert np.array_equal(native_pixels.transform_affine(image, matrix, fill, cubic=cubic), np.asarray(expected))
