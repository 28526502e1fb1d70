import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment, create_transform
from torch import Tensor

from training.data import native_pixels
from training.data.rand_augment import fast_function, on_arrays
from training.seeding import seed_generators

FILL = (124, 116, 104)
POLICIES = ["rand-m9-mstd0.5-inc1", "rand-m15-n4-mmax20-p0.9", "rand-tweights-n3", "rand-t3a", "original-mstd0.5", "v0",
            "v0r", "3a", "augmix-m5-w4-d2"]  # fmt: skip


def photos() -> list[Image.Image]:
    """Smooth ones, noise, a dark one, one of a single color, and the narrowest there are."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    noise = generator.integers(0, 256, (56, 64, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((64, 56), Image.Resampling.BICUBIC)
    dark = Image.fromarray((noise // 5 + 20).astype(np.uint8))
    narrow = [Image.fromarray(noise[:height, :width].copy()) for height, width in ((1, 9), (9, 1), (2, 2), (1, 1))]
    return [smooth, Image.fromarray(noise), dark, Image.new("RGB", (31, 20), (7, 200, 30)), *narrow]


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))


@pytest.mark.parametrize("name", auto_augment.NAME_TO_OP)
@pytest.mark.parametrize("interpolation", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
def test_every_operation_has_the_bits_of_timms(name, interpolation) -> None:
    hparams = {"translate_const": 20, "img_mean": FILL, "interpolation": interpolation}
    for magnitude in (0, 1, 3.7, 6, 9, 10):
        timms = auto_augment.AugmentOp(name, prob=1, magnitude=magnitude, hparams=hparams)
        ours = auto_augment.AugmentOp(name, prob=1, magnitude=magnitude, hparams=hparams)
        ours.aug_fn = fast_function(ours.aug_fn)
        for photo in photos():
            for seed in range(2):  # of the sign
                random.seed(seed)
                expected = as_tensor(timms(photo))
                random.seed(seed)
                assert torch.equal(ours(as_tensor(photo)), expected), (name, magnitude, photo.size)


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 360])
def test_right_angles(angle) -> None:
    photo = photos()[0].resize((40, 40))
    keywords = {"resample": Image.Resampling.BICUBIC, "fillcolor": FILL}
    expected = as_tensor(auto_augment.rotate(photo, angle, **keywords))
    assert torch.equal(fast_function(auto_augment.rotate)(as_tensor(photo), angle, **keywords), expected)


@pytest.mark.parametrize("interpolation", ["bicubic", "random"])
@pytest.mark.parametrize("policy", POLICIES)
def test_policies_draw_and_do_what_timms_do(policy, interpolation) -> None:
    _, timms, _ = create_transform(
        64, is_training=True, auto_augment=policy, interpolation=interpolation, separate=True, color_jitter=0.3
    )
    ours = on_arrays(timms)
    for seed in range(25):
        photo = photos()[seed % 2]
        seed_generators(seed)
        expected = as_tensor(timms(photo))
        after = random.random(), np.random.rand(), torch.rand(()).item()
        seed_generators(seed)
        assert torch.equal(ours(as_tensor(photo)), expected)
        assert after == (random.random(), np.random.rand(), torch.rand(()).item())


def test_without_a_policy_images_stay_as_they_are() -> None:
    _, nothing, _ = create_transform(64, is_training=True, auto_augment=None, color_jitter=0, separate=True)
    if not nothing.transforms:
        image = as_tensor(photos()[0])
        assert on_arrays(nothing)(image) is image


def test_images_that_come_in_are_not_changed() -> None:
    image = as_tensor(photos()[1])
    before = image.clone()
    for name, function in auto_augment.NAME_TO_OP.items():
        level = auto_augment.LEVEL_TO_ARG[name]
        arguments = () if level is None else level(9, {"translate_const": 20})
        fast_function(function)(image, *arguments, resample=Image.Resampling.BICUBIC, fillcolor=FILL)
        assert torch.equal(image, before), name


def test_without_a_compiler_pillow_computes_the_same(monkeypatch) -> None:
    photo, keywords = photos()[0], {"resample": Image.Resampling.BICUBIC, "fillcolor": FILL}
    fast = fast_function(auto_augment.rotate)(as_tensor(photo), 17.0, **keywords)
    monkeypatch.setattr(native_pixels, "is_available", lambda: False)
    assert torch.equal(fast_function(auto_augment.rotate)(as_tensor(photo), 17.0, **keywords), fast)
