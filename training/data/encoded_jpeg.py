"""JPEG files whose decoding waits until it is known which part of the image is needed."""

import io
import math
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from training.data import native_jpeg
from training.data.decoding import Decoding

_START, _END = b"\xff\xd8", b"\xff\xd9"
_DECODABLE_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, all of them Huffman-coded
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_SCAN = 0xDA
_TRAILING_BYTES = 64  # that may follow the end of an image


class DecodingError(Exception):
    """A file whose header is fine cannot be decoded; the cause is what Pillow says."""


@dataclass(frozen=True)
class EncodedJpeg:
    """An RGB image that is decoded in parts, to the bits that Pillow gives it.

    Attributes:
        content: The file.
        size: Height and width.
        decoding: What reads files that are not entirely in order.
    """

    content: bytes
    size: tuple[int, int]
    decoding: Decoding

    def rectangle(self, top: int, left: int, height: int, width: int) -> Tensor:
        """Decode a rectangle, (height, width, 3) uint8.

        Raises:
            DecodingError: Pillow cannot read the file.
        """
        if native_jpeg.is_available():
            pixels = native_jpeg.decode_rectangle(self.content, self.size, (top, left, height, width))
            if pixels is not None:
                return pixels
        image = self.image().crop((left, top, left + width, top + height))
        return torch.from_numpy(np.array(image))

    def image(self) -> Image.Image:
        """Decode the whole image by Pillow.

        Raises:
            DecodingError: it cannot.
        """
        try:
            return self.decoding.read(io.BytesIO(self.content))
        except UnidentifiedImageError as error:
            raise DecodingError("cannot identify image file") from error  # without the address of an object
        except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
            raise DecodingError(str(error) or type(error).__name__) from error


@dataclass(frozen=True)
class LazyDecoding:
    """``Decoding`` that leaves JPEG files of 8 bits and one or three colors for ``EncodedJpeg``.

    Attributes:
        decoding: For all others.
    """

    decoding: Decoding

    def rgb(self, image: Image.Image) -> Image.Image:
        """See ``Decoding.rgb``."""
        return self.decoding.rgb(image)

    def read(self, file: BinaryIO) -> Image.Image | EncodedJpeg:
        """Read the image in a file.

        Raises:
            Exception: as ``Decoding.rgb``.
        """
        with file:
            content = file.read()
            size = None if self.decoding.exif_orientation else jpeg_size(content)
            if size is not None and math.prod(size) <= (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow warns of larger
                return EncodedJpeg(content, size, self.decoding)
            file.seek(0)
            return self.decoding.read(file)


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Return height and width of a complete JPEG file of 8 bits and one or three colors, None for anything else."""
    if not content.startswith(_START) or content.rfind(_END, max(0, len(content) - _TRAILING_BYTES)) < 0:
        return None
    position = len(_START)
    while position + 10 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker in _DECODABLE_FRAMES:
            bits, colors = content[position + 4], content[position + 9]
            height = int.from_bytes(content[position + 5 : position + 7], "big")
            width = int.from_bytes(content[position + 7 : position + 9], "big")
            return (height, width) if bits == 8 and colors in (1, 3) and height and width else None
        if marker in _OTHER_FRAMES or marker == _SCAN:
            return None
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return None
