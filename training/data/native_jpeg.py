"""A rectangle of a JPEG file, decoded without the rest of the image: see native_jpeg.cpp.

libjpeg-turbo has decoded rectangles since version 1.5, with the bits of the whole image. What it has skipped it need
neither transform nor convert to RGB, and it stops at the last row.
"""

import ctypes
import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dcls.native_library import compiled_library

_SOURCE = Path(__file__).with_name("native_jpeg.cpp")


def is_available() -> bool:
    """Whether there are a compiler and the headers of libjpeg-turbo; compiles at the first call."""
    return _decode_function() is not None


def decode_rectangle(content: bytes, size: tuple[int, int], rectangle: tuple[int, int, int, int]) -> Tensor | None:
    """Decode to RGB.

    Args:
        content: The file, of 8 bits and one or three colors.
        size: Height and width of its image.
        rectangle: Top, left, height and width, inside of it.

    Returns:
        (height, width, 3) uint8, or None for a file that is not entirely in order.
    """
    decode = _decode_function()
    assert decode is not None, "call this only where is_available()"
    row = torch.empty(size[1], 3, dtype=torch.uint8)
    out = torch.empty(*rectangle[2:], 3, dtype=torch.uint8)
    failed = decode(content, len(content), *size, *rectangle, row.data_ptr(), out.data_ptr())
    return None if failed else out


@functools.cache
def _decode_function() -> Callable[..., int] | None:
    try:
        function = ctypes.CDLL(str(compiled_library(_SOURCE, "-ljpeg"))).decode_rectangle
    except (OSError, RuntimeError, subprocess.CalledProcessError):  # Pillow decodes whole images instead
        return None
    function.argtypes = (ctypes.c_char_p, *[ctypes.c_long] * 7, ctypes.c_void_p, ctypes.c_void_p)
    function.restype = ctypes.c_long
    return function
