"""Operations on 8-bit RGB images with the bits of Pillow's, several times as fast: see native_pixels.cpp.

All images are (H, W, 3) uint8 and contiguous. ``is_available`` says whether the other functions may be called.
"""

import ctypes
import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dcls.native_library import compiled_library

_SOURCE = Path(__file__).with_name("native_pixels.cpp")
_POINTER, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_long, ctypes.c_float
_ARGUMENTS = {
    "transform_affine": (_POINTER, _POINTER, _LONG, _LONG, _POINTER, _POINTER, _LONG),
    "look_up": (_POINTER, _POINTER, _LONG, _POINTER),
    "count_values": (_POINTER, _LONG, _POINTER),
    "sum_gray": (_POINTER, _LONG),
    "blend_gray": (_POINTER, _POINTER, _LONG, _FLOAT),
    "blend_smooth": (_POINTER, _POINTER, _LONG, _LONG, _FLOAT),
}


def is_available() -> bool:
    """Whether there is a compiler that understands the source; compiles it at the first call."""
    return _library() is not None


def transform_affine(image: Tensor, matrix: Sequence[float], fill: Sequence[int], *, cubic: bool) -> Tensor:
    """Do what Pillow's ``Image.transform`` does with ``AFFINE``, bicubic or bilinear."""
    out = torch.empty_like(image)
    numbers, color = (ctypes.c_double * 6)(*matrix), bytes(fill)
    _call("transform_affine", image.data_ptr(), out.data_ptr(), *image.shape[:2], numbers, color, cubic)
    return out


def look_up(image: Tensor, table: Tensor) -> Tensor:
    """Replace every value by that of its color's table, (3, 256) uint8."""
    out = torch.empty_like(image)
    _call("look_up", image.data_ptr(), out.data_ptr(), _pixels(image), table.data_ptr())
    return out


def count_values(image: Tensor) -> Tensor:
    """Return how often each value occurs in each color, (3, 256) int64."""
    counts = torch.empty(3, 256, dtype=torch.int64)
    _call("count_values", image.data_ptr(), _pixels(image), counts.data_ptr())
    return counts


def mean_gray(image: Tensor) -> float:
    """Return the mean of the image in gray."""
    return _call("sum_gray", image.data_ptr(), _pixels(image)) / _pixels(image)


def blend_gray(image: Tensor, share: float) -> Tensor:
    """Blend from the image in gray (0) over itself (1) to one of more color."""
    out = torch.empty_like(image)
    _call("blend_gray", image.data_ptr(), out.data_ptr(), _pixels(image), share)
    return out


def blend_smooth(image: Tensor, share: float) -> Tensor:
    """Blend from the image smoothed by Pillow's ``SMOOTH`` (0) over itself (1) to a sharper one."""
    out = torch.empty_like(image)
    _call("blend_smooth", image.data_ptr(), out.data_ptr(), *image.shape[:2], share)
    return out


def _pixels(image: Tensor) -> int:
    return image.shape[0] * image.shape[1]


def _call(name: str, *arguments: object) -> int:
    library = _library()
    assert library is not None, "call this only where is_available()"
    return getattr(library, name)(*arguments)


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(str(compiled_library(_SOURCE, "-ffp-contract=off")))
    except (OSError, RuntimeError, subprocess.CalledProcessError):  # no compiler or no home: Pillow gives the same bits
        return None
    for name, types in _ARGUMENTS.items():
        getattr(library, name).argtypes = types
    library.sum_gray.restype = ctypes.c_int64
    return library
