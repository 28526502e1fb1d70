"""Images whose shorter side is limited, for disks and decoders that would otherwise carry pixels nobody sees."""

import io
from dataclasses import dataclass

from PIL import Image

from training.data.decoding import Decoding
from training.data.preparation.verification import oddity

_ORIENTATION = 0x0112  # of EXIF


@dataclass(frozen=True)
class SizeLimit:
    """A limit of the shorter side: larger images are resized with Pillow's Lanczos filter; none is enlarged.

    Attributes:
        max_size: Longest shorter side, in pixels; None for images as they are.
        quality: Of the JPEG files, 1 to 100.
    """

    max_size: int | None
    quality: int

    def apply(self, content: bytes) -> tuple[bytes, str | None]:
        """Return the file of an image within the limit, and a remark if it was more than made smaller.

        Files within the limit, and those that cannot be decoded, are returned as they are. How a camera was held
        (EXIF) is kept; other metadata is not.
        """
        if self.max_size is None:
            return content, None
        try:
            with Image.open(io.BytesIO(content)) as image:
                scale = self.max_size / min(image.size)
                if scale >= 1:
                    return content, None
                odd, orientation = oddity(image), image.getexif().get(_ORIENTATION)
                pixels = image.copy() if image.mode == "L" else Decoding().rgb(image)
        except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
            return content, f"cannot be decoded ({error or type(error).__name__}) and stays as it is"
        width, height = (max(1, round(scale * side)) for side in pixels.size)
        exif = Image.Exif()
        if orientation is not None:
            exif[_ORIENTATION] = orientation
        file = io.BytesIO()
        small = pixels.resize((width, height), Image.Resampling.LANCZOS)
        small.save(file, "JPEG", quality=self.quality, exif=exif)
        return file.getvalue(), f"{odd}; made smaller it is an RGB JPEG" if odd else None
