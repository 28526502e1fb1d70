"""timm's RandAugment and AutoAugment on 8-bit images that are no Pillow images.

The policies, and all that they draw, are timm's; its functions of an image are replaced one by one. The results have
the bits of Pillow's: functions of single values become lookup tables, which timm's own functions fill in; geometry and
mixtures with a smoothed or gray image are computed by ``native_pixels``. What is in neither group, and everything where
there is no compiler, takes the way over a Pillow image.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment
from torch import Tensor

from training.data import native_pixels

_VALUES = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
_LEVELS, _WHITE = np.arange(256), 255


def on_arrays(transform: Any) -> Callable[[Tensor], Tensor]:
    """Return a transform of Pillow images, such as timm's for ``augmentation.auto_augment``, as one of (H, W, 3) uint8.

    Args:
        transform: A composition.
    """
    if not transform.transforms:
        return _unchanged
    (first, *others) = transform.transforms
    if others or not isinstance(first, auto_augment.RandAugment | auto_augment.AutoAugment):
        return partial(_on_pillow, transform)
    policy = copy.deepcopy(first)
    for operation in _operations(policy):
        operation.aug_fn = fast_function(operation.aug_fn)  # type: ignore[arg-type]
    return policy


def fast_function(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """Return one of timm's functions of an image, for (H, W, 3) uint8."""
    fast = _FAST.get(function, _on_pillow) if native_pixels.is_available() else _on_pillow
    return partial(fast, function)


def _operations(policy: Any) -> Iterator[auto_augment.AugmentOp]:
    if isinstance(policy, auto_augment.RandAugment):
        yield from policy.ops
    else:
        for operations in policy.policy:
            yield from operations


def _unchanged(image: Tensor) -> Tensor:
    return image


def _on_pillow(function: Callable[..., Image.Image], image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return torch.from_numpy(np.array(function(Image.fromarray(image.numpy()), *args, **kwargs)))


def _by_value(function: Callable[..., Image.Image], image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Look up what the function makes of each of 256 values."""
    table = np.ascontiguousarray(np.asarray(function(_VALUES, *args, **kwargs))[0].T)
    return native_pixels.look_up(image, torch.from_numpy(table))


def _contrast(function: Callable[..., Image.Image], image: Tensor, factor: float, **_: Any) -> Tensor:
    """Blend with one gray: the image's mean, to which Pillow rounds it."""
    gray = Image.new("RGB", _VALUES.size, (int(native_pixels.mean_gray(image) + 0.5),) * 3)
    return _by_value(lambda values: Image.blend(gray, values, factor), image)


def _auto_contrast(function: Callable[..., Image.Image], image: Tensor, **_: Any) -> Tensor:
    """Stretch each color from its smallest to its largest value."""
    is_present = native_pixels.count_values(image).numpy() > 0  # (3, 256)
    low, high = _first(is_present), _WHITE - _first(is_present[:, ::-1])  # (3, 1)
    scale = _WHITE / np.maximum(high - low, 1)
    stretched = (_LEVELS * scale + -low * scale).clip(0, _WHITE)
    return native_pixels.look_up(image, _table(np.where(low == high, _LEVELS, stretched)))


def _first(is_present: np.ndarray) -> np.ndarray:
    return is_present.argmax(1)[:, None]


def _equalize(function: Callable[..., Image.Image], image: Tensor, **_: Any) -> Tensor:
    """Spread the values of each color evenly."""
    counts = native_pixels.count_values(image).numpy()  # (3, 256)
    largest = _WHITE - _first(counts[:, ::-1] > 0)
    step = (counts.sum(1, keepdims=True) - np.take_along_axis(counts, largest, 1)) // _WHITE
    before = counts.cumsum(1) - counts + step // 2
    even = (before // np.maximum(step, 1)).clip(max=_WHITE)
    return native_pixels.look_up(image, _table(np.where(step == 0, _LEVELS, even)))


def _table(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.uint8))


def _color(function: Callable[..., Image.Image], image: Tensor, factor: float, **_: Any) -> Tensor:
    return native_pixels.blend_gray(image, factor)


def _desaturate(function: Callable[..., Image.Image], image: Tensor, factor: float, **_: Any) -> Tensor:
    return native_pixels.blend_gray(image, min(1.0, max(0.0, 1.0 - factor)))


def _sharpness(function: Callable[..., Image.Image], image: Tensor, factor: float, **_: Any) -> Tensor:
    return native_pixels.blend_smooth(image, factor)


def _geometric(function: Callable[..., Any], image: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return function(_Canvas(image), *args, **kwargs)


class _Canvas:
    """Stand in for a Pillow image where timm's geometric functions ask for one."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.size = self.width, self.height = pixels.shape[1], pixels.shape[0]

    rotate = Image.Image.rotate  # in terms of the methods below

    def transform(
        self, size: tuple[int, int], method: Any, matrix: Sequence[float], resample: int, fillcolor: Sequence[int]
    ) -> Tensor:
        return native_pixels.transform_affine(
            self.pixels, matrix, fillcolor, cubic=resample == Image.Resampling.BICUBIC
        )

    def transpose(self, method: Any) -> Tensor:
        return _on_pillow(lambda image: image.transpose(method), self.pixels)

    def copy(self) -> Tensor:
        return self.pixels


_FAST: dict[Callable[..., Any], Callable[..., Tensor]] = {
    **dict.fromkeys(
        (
            auto_augment.shear_x,
            auto_augment.shear_y,
            auto_augment.translate_x_abs,
            auto_augment.translate_y_abs,
            auto_augment.translate_x_rel,
            auto_augment.translate_y_rel,
            auto_augment.rotate,
        ),
        _geometric,
    ),
    **dict.fromkeys(
        (
            auto_augment.invert,
            auto_augment.posterize,
            auto_augment.solarize,
            auto_augment.solarize_add,
            auto_augment.brightness,
        ),
        _by_value,
    ),
    auto_augment.auto_contrast: _auto_contrast,
    auto_augment.equalize: _equalize,
    auto_augment.contrast: _contrast,
    auto_augment.color: _color,
    auto_augment.desaturate: _desaturate,
    auto_augment.sharpness: _sharpness,
}
