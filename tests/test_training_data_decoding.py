"""Every mode of Pillow's: right colors, or an error that names the file."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageDataset
from torchvision.transforms import CenterCrop, Compose, Resize

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.config import DataConfig
from training.data.dataset import ImageLoader, ImageSamples
from training.data.decoding import BoundedShape, Decoding
from training.data.loaders import evaluation_loader
from training.data.readers import FolderReader
from training.data.splits import open_dataset
from training.processes.distributed import DistributedContext

PREPROCESSING = Preprocessing((3, 8, 8), "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0)
AS_TIMM = Decoding()
RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def decoded(image: Image.Image, kind: str, decoding: Decoding = AS_TIMM) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind)
    file.seek(0)
    result = decoding.read(file)
    assert result.mode == "RGB"
    return np.asarray(result)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bits_are_scaled_to_eight(kind) -> None:
    pixels = decoded(Image.fromarray(RAMP), kind)
    assert np.array_equal(pixels, np.repeat((RAMP // 256)[..., None], 3, axis=2))


def test_sixteen_bit_images_keep_their_contrast_in_an_evaluation(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / "val" / name).mkdir(parents=True)
        Image.fromarray(RAMP).save(tmp_path / "val" / name / "0.png")
    data = DataConfig(dir=str(tmp_path), num_workers=0)
    dataset = open_dataset(data, "val", is_training=False, batch_size=2, seed=0)
    alone = DistributedContext(0, 1, torch.device("cpu"))
    ((images, _),) = evaluation_loader(dataset, data, PREPROCESSING, alone)
    expected = torch.from_numpy((RAMP // 256).astype(np.float32) / 255)
    torch.testing.assert_close(images, expected.expand(2, 3, 8, 8))


@pytest.mark.parametrize(
    "array, word", [(np.full((4, 4), 1 << 20, np.int32), "integers"), (np.full((4, 4), 0.5, np.float32), "floating")]
)
def test_values_without_a_white_are_refused_by_name(tmp_path, array, word) -> None:
    (tmp_path / "cat").mkdir()
    Image.fromarray(array).save(tmp_path / "cat" / "deep.tiff")
    samples = ImageSamples(ImageDataset(str(tmp_path), reader=FolderReader(tmp_path)), lambda image: image, 0)
    with pytest.raises(UserError, match=rf"cannot decode image .*cat/deep.tiff: its pixels are .*{word}"):
        list(ImageLoader(samples, sampler=[(0, 0)]))


def test_transparency_is_composed_over_the_background() -> None:
    half = Image.new("RGBA", (2, 2), (200, 100, 0, 51))  # a fifth
    assert decoded(half, "PNG")[0, 0].tolist() == [244, 224, 204]
    assert decoded(half, "PNG", Decoding(background=(0, 0, 0)))[0, 0].tolist() == [40, 20, 0]
    gray = Image.new("LA", (2, 2), (10, 0))
    assert decoded(gray, "PNG", Decoding(background=(1, 2, 3)))[0, 0].tolist() == [1, 2, 3]
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.putpixel((0, 0), 1)
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=0)
    pixels = np.asarray(Decoding(background=(7, 7, 7)).read(io.BytesIO(file.getvalue())))
    assert pixels[0, 0].tolist() == [50, 60, 70] and pixels[1, 1].tolist() == [7, 7, 7]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"])
def test_other_modes_are_converted_as_pillow_does(mode) -> None:
    image = Image.fromarray((np.arange(48) * 5 % 256).astype(np.uint8).reshape(4, 4, 3)).convert(
        mode if mode not in ("LAB", "HSV") else "RGB"
    )
    if mode in ("LAB", "HSV"):
        image = image if mode == "LAB" else image.convert("HSV")
    assert np.array_equal(np.asarray(Decoding().rgb(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_a_choice(orientation) -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.T,
        6: np.rot90(pixels, -1), 7: np.rot90(pixels, 2).T, 8: np.rot90(pixels),
    }[orientation]  # fmt: skip
    for turned, expected in ((False, pixels), (True, upright)):
        result = Decoding(exif_orientation=turned).read(io.BytesIO(file.getvalue()))
        assert np.array_equal(np.asarray(result)[..., 0], expected)


def test_exif_orientation_of_sixteen_bits() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    Image.fromarray(RAMP).save(file, "PNG", exif=exif)
    result = np.asarray(Decoding(exif_orientation=True).read(io.BytesIO(file.getvalue())))
    assert np.array_equal(result[..., 0], (RAMP // 256)[::-1, ::-1])


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 900), (900, 3), (2, 501)])
def test_absurd_shapes_are_bounded_and_their_middle_is_what_it_was(size) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(rows)
    sizes = []

    def crop(resized: Image.Image) -> Image.Image:
        sizes.append(max(resized.size))
        return Compose([Resize(8), CenterCrop(8)])(resized)

    bounded = BoundedShape(100, crop)(image)
    assert sizes[0] <= 100 * min(size) + 1
    assert bounded.size == (8, 8)
    assert np.array_equal(np.asarray(bounded), np.asarray(crop(image)))


def test_usual_shapes_are_left_alone() -> None:
    image = Image.new("RGB", (3000, 30))
    assert BoundedShape(100, lambda same: same)(image) is image


def test_the_loaders_bound_absurd_shapes(tmp_path) -> None:
    (tmp_path / "val" / "a").mkdir(parents=True)
    Image.new("RGB", (1, 60_000), (255, 0, 0)).save(tmp_path / "val" / "a" / "0.png")
    data = DataConfig(dir=str(tmp_path), num_workers=0)
    dataset = open_dataset(data, "val", is_training=False, batch_size=2, seed=0)
    alone = DistributedContext(0, 1, torch.device("cpu"))
    preprocessing = Preprocessing((3, 224, 224), "bicubic", mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=0.875)
    ((images, _),) = evaluation_loader(dataset, data, preprocessing, alone)
    assert images.shape == (1, 3, 224, 224) and images[:, 0].min() == 1


def test_an_image_that_no_transform_can_prepare_is_named(tmp_path) -> None:
    (tmp_path / "val" / "a").mkdir(parents=True)
    Image.new("RGB", (1, 60_000)).save(tmp_path / "val" / "a" / "0.png")
    data = DataConfig(dir=str(tmp_path), num_workers=0)
    dataset = open_dataset(data, "val", is_training=False, batch_size=2, seed=0)
    alone = DistributedContext(0, 1, torch.device("cpu"))
    border = Preprocessing((3, 8, 8), "bicubic", (0.0,) * 3, (1.0,) * 3, crop_pct=1.0, crop_mode="border")
    with pytest.raises(UserError, match=r"cannot prepare image .*val/a/0.png: .*; replace or remove"):
        list(evaluation_loader(dataset, data, border, alone))
