import io

import numpy as np
import pytest
from official_archives import jpeg
from PIL import Image

from training.data.decoding import Decoding
from training.data.preparation.size_limit import SizeLimit

LIMIT = SizeLimit(32, quality=95)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_the_shorter_side_is_limited_and_nothing_is_enlarged() -> None:
    for size, expected in (((100, 64), (50, 32)), ((64, 100), (32, 50)), ((33, 1000), (32, 970))):
        small, remark = LIMIT.apply(jpeg(0, size))
        assert opened(small).size == expected and opened(small).format == "JPEG" and remark is None
    for size in ((32, 500), (10, 20)):
        content = jpeg(0, size)
        assert LIMIT.apply(content) == (content, None)
        assert SizeLimit(None, 95).apply(content) == (content, None)


def test_images_are_made_smaller_by_pillows_lanczos_filter() -> None:
    ramp = np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1)).save(file, "JPEG", quality=100)
    small, _ = LIMIT.apply(file.getvalue())
    expected = opened(file.getvalue()).resize((43, 32), Image.Resampling.LANCZOS)
    difference = np.asarray(opened(small), dtype=float) - np.asarray(expected, dtype=float)
    assert np.sqrt((difference**2).mean()) < 3  # what quality 95 leaves of colors


def test_quality_is_that_of_the_files() -> None:
    content = jpeg(0, (128, 96))
    sizes = [len(SizeLimit(48, quality).apply(content)[0]) for quality in (50, 80, 95)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    "mode, kind, remark, result",
    [
        ("RGB", "PNG", "no JPEG: PNG; made smaller it is an RGB JPEG", "RGB"),
        ("CMYK", "JPEG", "CMYK; made smaller it is an RGB JPEG", "RGB"),
        ("L", "JPEG", None, "L"),
    ],
)
def test_other_images_become_what_training_sees_in_them(mode, kind, remark, result) -> None:
    content = jpeg(0, (80, 64), mode, kind)
    small, said = LIMIT.apply(content)
    assert (said, opened(small).mode, opened(small).format) == (remark, result, "JPEG")
    seen = np.asarray(Decoding().rgb(opened(content)).resize((40, 32), Image.Resampling.LANCZOS), dtype=float)
    kept = np.asarray(Decoding().rgb(opened(small)), dtype=float)
    assert abs(kept.mean() - seen.mean()) < 2 and np.corrcoef(kept.ravel(), seen.ravel())[0, 1] > 0.7


def test_a_broken_image_stays_as_it_is() -> None:
    for content in (jpeg(0, (80, 64))[:500], b"", b"no image"):
        same, remark = LIMIT.apply(content)
        assert same == content and remark.startswith("cannot be decoded (") and remark.endswith("stays as it is")


def test_how_a_camera_was_held_is_kept() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    opened(jpeg(0, (100, 64))).save(file, "JPEG", exif=exif)
    small = opened(LIMIT.apply(file.getvalue())[0])
    assert small.size == (50, 32) and small.getexif()[0x0112] == 6
