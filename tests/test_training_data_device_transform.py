import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.random_erasing import RandomErasing

from dcls.checkpoints.description import Preprocessing
from training.data.device_transform import DeviceTransform, Pixels, RandomErasures

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing((3, 24, 32), "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop_pct=1.0)


def batch(size: int = 4, erasures: torch.Tensor | None = None) -> Pixels:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (size, 24, 32, 3), generator=generator, dtype=torch.uint8)
    return Pixels(pixels, torch.zeros(size, 0, 5, dtype=torch.int64) if erasures is None else erasures)


def test_images_have_the_bits_that_timms_transform_gives_them() -> None:
    transform = create_transform((3, 24, 32), mean=PREPROCESSING.mean, std=PREPROCESSING.std, crop_pct=1.0)
    images = DeviceTransform(PREPROCESSING, CPU)(batch())
    expected = torch.stack([transform(Image.fromarray(pixels.numpy())) for pixels in batch().pixels])
    assert torch.equal(images, expected)
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("max_count", [1, 3])
def test_rectangles_are_those_that_timm_draws(max_count) -> None:
    timms = RandomErasing(0.5, max_count=max_count, device="cpu")
    ours = RandomErasures(0.5, max_count)
    count = 0
    for seed in range(100):
        random.seed(seed)
        expected = timms(torch.ones(3, 40, 60)) == 0
        random.seed(seed)
        erased = torch.zeros(40, 60, dtype=torch.bool)
        for top, left, height, width, _ in ours(40, 60).tolist():
            erased[top : top + height, left : left + width] = True
        assert torch.equal(expected, erased.expand(3, 40, 60))
        count += int(erased.any())
    assert 30 < count < 70


def test_nothing_is_drawn_without_erasing() -> None:
    state = random.getstate()
    assert RandomErasures(0.0, 2)(8, 8).shape == (0, 5)
    assert random.getstate() == state


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_rectangles_are_filled(mode) -> None:
    erasures = torch.zeros(4, 2, 5, dtype=torch.int64)
    erasures[1, 0] = torch.tensor([2, 3, 20, 25, 7])
    erasures[3, 1] = torch.tensor([0, 0, 10, 12, 8])
    plain = DeviceTransform(PREPROCESSING, CPU)(batch())
    images = DeviceTransform(PREPROCESSING, CPU, mode)(batch(erasures=erasures))
    changed = torch.zeros(4, 24, 32, dtype=torch.bool)
    changed[1, 2:22, 3:28] = changed[3, :10, :12] = True
    assert torch.equal((plain != images).any(1), changed)
    filled = images[1, :, 2:22, 3:28]
    if mode == "const":
        assert not filled.any()
    elif mode == "rand":
        assert torch.equal(filled, filled[:, :1, :1].expand_as(filled)) and filled[:, 0, 0].unique().numel() == 3
    else:
        assert abs(filled.mean()) < 0.1 and abs(filled.std() - 1) < 0.1


def test_noise_depends_on_the_image_alone() -> None:
    erasures = torch.zeros(4, 1, 5, dtype=torch.int64)
    erasures[:, 0] = torch.tensor([1, 1, 10, 10, 0])
    erasures[:, 0, 4] = torch.arange(4)
    transform = DeviceTransform(PREPROCESSING, CPU, "pixel")
    together = transform(batch(erasures=erasures))
    torch.rand(3), np.random.rand(3)
    for index in (2, 0):
        alone = transform(Pixels(*(values[index : index + 1] for values in batch(erasures=erasures))))
        assert torch.equal(together[index], alone[0])
    assert not torch.equal(together[0, :, 1:11, 1:11], together[1, :, 1:11, 1:11])


@pytest.mark.gpu
def test_a_gpu_normalizes_to_the_same_bits() -> None:
    on_gpu = DeviceTransform(PREPROCESSING, torch.device("cuda"))(batch())
    assert torch.equal(on_gpu.cpu(), DeviceTransform(PREPROCESSING, CPU)(batch()))
    assert on_gpu.is_contiguous(memory_format=torch.channels_last)
