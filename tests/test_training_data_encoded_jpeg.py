import io

import numpy as np
import pytest
from PIL import Image

from training.data import native_jpeg
from training.data.decoding import Decoding
from training.data.encoded_jpeg import DecodingError, EncodedJpeg, LazyDecoding, jpeg_size

LAZY = LazyDecoding(Decoding())
RECTANGLES = [(0, 0, 61, 83), (0, 0, 1, 1), (60, 82, 1, 1), (17, 3, 30, 40), (33, 47, 20, 36), (5, 0, 50, 83), (0, 31, 61, 9)]  # fmt: skip


@pytest.fixture(params=["rectangles alone", "whole images"])
def way(request, monkeypatch) -> str:
    """Both ways to decode: the second is that of machines without a compiler or libjpeg's headers."""
    if request.param == "whole images":
        monkeypatch.setattr(native_jpeg, "is_available", lambda: False)
    elif not native_jpeg.is_available():
        pytest.skip("no headers of libjpeg-turbo")
    return request.param


def photo(mode: str = "RGB") -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((83, 61), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [
    {}, {"quality": 30}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:2"}, {"subsampling": "4:2:0"},
    {"progressive": True}, {"progressive": True, "subsampling": "4:4:4"}, {"restart_marker_blocks": 2},
    {"optimize": True, "restart_marker_rows": 1}, {"keep_rgb": True}, {"comment": b"x" * 5000},
])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_rectangle_has_the_bits_of_pillow(way, mode, options) -> None:
    content = encoded(photo(mode), **options)
    jpeg = LAZY.read(io.BytesIO(content))
    assert isinstance(jpeg, EncodedJpeg) and jpeg.size == (61, 83)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for top, left, height, width in RECTANGLES:
        pixels = jpeg.rectangle(top, left, height, width)
        assert np.array_equal(pixels.numpy(), expected[top : top + height, left : left + width])
    assert np.array_equal(np.asarray(jpeg.image()), expected)


def test_real_images(way, imagenet_sample) -> None:
    random = np.random.default_rng(0)
    files = sorted(imagenet_sample.glob("*/*"))[::20]
    count = 0
    for file in files:
        jpeg = LAZY.read(file.open("rb"))
        if not isinstance(jpeg, EncodedJpeg):
            continue
        count += 1
        expected = np.asarray(Decoding().read(file.open("rb")))
        assert jpeg.size == expected.shape[:2]
        (top, bottom), (left, right) = (sorted(random.choice(side + 1, 2, replace=False)) for side in jpeg.size)
        pixels = jpeg.rectangle(*map(int, (top, left, bottom - top, right - left)))
        assert np.array_equal(pixels.numpy(), expected[top:bottom, left:right])
    assert count > 0.9 * len(files)


@pytest.mark.parametrize("kind", ["PNG", "CMYK", "WebP", "GIF"])
def test_all_other_files_are_read_by_pillow(kind) -> None:
    file = io.BytesIO()
    photo("CMYK" if kind == "CMYK" else "RGB").save(file, "JPEG" if kind == "CMYK" else kind)
    image = LAZY.read(io.BytesIO(file.getvalue()))
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), np.asarray(Decoding().read(io.BytesIO(file.getvalue()))))


def test_images_that_may_have_to_be_turned_are_read_by_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(photo(), exif=exif)
    turned = LazyDecoding(Decoding(exif_orientation=True)).read(io.BytesIO(content))
    assert isinstance(turned, Image.Image) and turned.size == (61, 83)
    assert jpeg_size(content) == (61, 83)


def test_images_that_are_too_large_are_left_to_pillow(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        LAZY.read(io.BytesIO(encoded(photo())))


def test_mutated_files_give_what_pillow_gives(way) -> None:
    """Pillow's pixels, or an error where Pillow has one, if the damage is within what is decoded."""
    content = encoded(photo())
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(2, len(content), random.integers(1, 4)):
            damaged[place] = random.integers(256)
        if random.random() < 0.2:
            del damaged[random.integers(2, len(damaged)) :]
        try:
            expected = np.asarray(Decoding().read(io.BytesIO(bytes(damaged))))
        except Exception:
            expected = None
        try:
            image = LAZY.read(io.BytesIO(bytes(damaged)))
            whole = image.rectangle(0, 0, *image.size).numpy() if isinstance(image, EncodedJpeg) else np.asarray(image)
        except Exception:
            whole = None
        assert (whole is None) == (expected is None)
        assert expected is None or np.array_equal(whole, expected)
        outcomes.add(expected is None)
    assert outcomes == {True, False}


def test_what_pillow_says_is_kept(way) -> None:
    content = encoded(photo())
    middle = len(content) * 2 // 3
    jpeg = LAZY.read(io.BytesIO(content[:middle] + b"\xff\xd9"))
    assert isinstance(jpeg, EncodedJpeg)
    try:
        expected = np.asarray(Decoding().read(io.BytesIO(jpeg.content)))
    except OSError as error:
        with pytest.raises(DecodingError, match=str(error)[:20]):
            jpeg.rectangle(0, 0, 61, 83)
    else:
        assert np.array_equal(jpeg.rectangle(0, 0, 61, 83).numpy(), expected)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xc0\xff\xd9", b"no image"])
def test_sizes_of_no_images(content) -> None:
    assert jpeg_size(content) is None
