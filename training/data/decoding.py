"""From an image as its file has it to 8-bit RGB, or to an error that names the file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from dcls.errors import UserError
from training.data.image_files import printable

WHITE = (255, 255, 255)
_SIXTEEN_BITS = ("PNG", "PPM")  # whose integers Pillow scales to 16 bits


@dataclass(frozen=True)
class Decoding:
    """How images become 8-bit RGB.

    Gray images of 16 bits are scaled to 8, as Pillow does with colors. Integers of 32 bits and floats are refused,
    because nothing says which of their values is white.

    Attributes:
        exif_orientation: Turn images as their EXIF data says; timm and torchvision do not.
        background: Color behind transparent pixels.
    """

    exif_orientation: bool = False
    background: tuple[int, int, int] = WHITE

    def rgb(self, image: Image.Image) -> Image.Image:
        """Convert an image.

        Raises:
            ValueError: its values have no meaning as a color.
            Exception: whatever Pillow's decoders raise for a damaged file.
        """
        has_sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS)
        if self.exif_orientation:
            image = ImageOps.exif_transpose(image)
        if has_sixteen_bits:
            return _eight_bits(image).convert("RGB")
        if image.mode in ("I", "F"):
            kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
            raise ValueError(f"its pixels are {kind}, of which nobody knows what is white; convert it to 8 bits")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, (*self.background, 255)), image).convert("RGB")
        return image.convert("RGB")

    def read(self, file: BinaryIO) -> Image.Image:
        """Read the image in a file.

        Raises:
            Exception: as ``rgb``.
        """
        with file, Image.open(file) as image:
            return self.rgb(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return the upper 8 of 16 bits."""
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def unreadable(name: str, error: Exception, action: str = "decode") -> UserError:
    """Return the error of an image that cannot be read."""
    reason = printable(str(error) or type(error).__name__)
    return UserError(f"cannot {action} image {printable(name)}: {reason}", "replace or remove the file")


def open_image(path: str) -> Image.Image:
    """Open an image for ``Decoding`` to read, as torchvision's data sets of files do it where they are told so."""
    return Image.open(path)


@dataclass(frozen=True)
class BoundedShape:
    """A transform that cuts the ends of absurdly long images off, which the evaluation's center crop never shows.

    Without it 1 x 60,000 pixels would be enlarged to 256 x 15 million first.

    Attributes:
        longest: Longer over shorter side at most.
        transform: RGB image -> tensor.
    """

    longest: float
    transform: Callable[[Image.Image], Any]

    def __call__(self, image: Image.Image) -> Any:
        """Transform the image, or its middle."""
        width, height = image.size
        limit = int(self.longest * min(width, height))
        across, down = max(0, width - limit) // 2, max(0, height - limit) // 2
        if across or down:
            image = image.crop((across, down, width - across, height - down))
        return self.transform(image)
