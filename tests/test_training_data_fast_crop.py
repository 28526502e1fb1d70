import io
import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from training.data import native_jpeg
from training.data.decoding import Decoding
from training.data.encoded_jpeg import EncodedJpeg, LazyDecoding
from training.data.fast_crop import FastCrop
from training.seeding import seed_generators

LARGEST, MEAN = 2, 0.01  # differences from Pillow's pixels, in levels of 255


def crop_of_timm(interpolation: str = "bicubic", size=(224, 224), **options):
    return create_transform(size, is_training=True, interpolation=interpolation, separate=True, **options)[0]


def jpegs(count: int, seed: int = 0) -> list[tuple[EncodedJpeg, Image.Image]]:
    """Photos of all shapes, of noise and edges: harder than real ones."""
    generator = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        height, width = (int(side) for side in generator.integers(20, 500, 2))
        coarse = generator.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG")
        jpeg = LazyDecoding(Decoding()).read(io.BytesIO(file.getvalue()))
        assert isinstance(jpeg, EncodedJpeg)
        result.append((jpeg, Image.open(file).convert("RGB")))
    return result


def differences(timms, pairs) -> list[np.ndarray]:
    ours, result = FastCrop(timms), []
    for seed, (jpeg, image) in enumerate(pairs):
        seed_generators(seed)
        expected = np.asarray(timms(image)).astype(int)
        after = random.random(), torch.rand(()).item()
        seed_generators(seed)
        pixels = ours(jpeg)
        assert after == (random.random(), torch.rand(()).item())
        assert pixels.is_contiguous() and pixels.dtype == torch.uint8
        result.append(np.abs(expected - pixels.numpy()))
    return result


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "random"])
@pytest.mark.parametrize("size", [(224, 224), (64, 160)])
def test_pixels_are_pillows_up_to_rounding(interpolation, size) -> None:
    found = differences(crop_of_timm(interpolation, size, hflip=0.5, vflip=0.5), jpegs(24))
    assert max(difference.max() for difference in found) <= LARGEST
    assert np.mean([difference.mean() for difference in found]) <= MEAN


@pytest.mark.parametrize("options", [
    {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}, {"scale": (0.01, 0.02)}, {"ratio": (5.0, 8.0)}, {"hflip": 0.0},
])  # fmt: skip
def test_extreme_crops(options) -> None:
    found = differences(crop_of_timm(size=(96, 96), **options), jpegs(8, seed=1))
    assert max(difference.max() for difference in found) <= LARGEST


def test_real_images(imagenet_sample) -> None:
    files = sorted(imagenet_sample.glob("*/*"))[::25]
    pairs = [(LazyDecoding(Decoding()).read(file.open("rb")), Decoding().read(file.open("rb"))) for file in files]
    pairs = [pair for pair in pairs if isinstance(pair[0], EncodedJpeg)]
    found = differences(crop_of_timm(), pairs)
    assert max(difference.max() for difference in found) <= LARGEST
    assert np.mean([difference.mean() for difference in found]) <= MEAN


def test_the_way_of_decoding_changes_nothing(monkeypatch) -> None:
    def load() -> list[torch.Tensor]:
        crop = FastCrop(crop_of_timm())
        result = []
        for seed, (jpeg, _) in enumerate(jpegs(4)):
            seed_generators(seed)
            result.append(crop(jpeg))
        return result

    expected = load()
    monkeypatch.setattr(native_jpeg, "is_available", lambda: False)
    assert all(map(torch.equal, load(), expected))


def test_other_interpolations_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot resize"):
        FastCrop(crop_of_timm("nearest"))
