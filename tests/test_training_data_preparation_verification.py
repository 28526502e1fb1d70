import tarfile
from pathlib import Path

import pytest
from official_archives import jpeg, write_archives
from PIL import Image

from dcls.errors import UserError
from training.data.preparation.archives import find_images
from training.data.preparation.class_folders import write_class_folders
from training.data.preparation.shard_files import write_shards
from training.data.preparation.size_limit import SizeLimit
from training.data.preparation.verification import check_counts, verify

AS_IT_IS = SizeLimit(None, 95)
ODD = {
    "n01440764_8.JPEG": jpeg(0, mode="CMYK"),
    "n01443537_7.JPEG": jpeg(0, kind="PNG"),
    "n02085620_9.JPEG": jpeg(0)[:400],
    "ILSVRC2012_val_00000002.JPEG": b"",
}


@pytest.fixture(params=["folders", "shards", "archives"])
def prepared(request, tmp_path) -> Path:
    write_archives(tmp_path / "archives", train=3, val=2, replaced=ODD)
    out = tmp_path / "out"
    out.mkdir()
    for split in ("train", "val"):
        images = find_images(tmp_path / "archives", split, workers=1)
        if request.param == "shards":
            write_shards(images, out, split, AS_IT_IS, 4, workers=1)
            continue
        write_class_folders(images, out / split, AS_IT_IS, workers=1)
        if request.param == "archives":
            with tarfile.open(out / f"{split}.tar", "w") as archive:
                archive.add(out / split, split)
            (out / split).rename(tmp_path / split)
    return out


def test_what_is_broken_or_odd_is_listed_and_counted(prepared, capsys) -> None:
    capsys.readouterr()
    with pytest.raises(UserError, match=r"^2 of 15 images are broken; replace or remove these files$"):
        verify(prepared, ("train", "val"), workers=2, expect_imagenet=False)
    lines = capsys.readouterr().out.splitlines()
    summary = [line for line in lines if "images of" in line]
    assert summary == [
        "train: 9 images of 3 classes: 1 broken, 1 CMYK, 1 no JPEG",
        "val: 6 images of 3 classes: 1 broken, 0 CMYK, 0 no JPEG",
    ]
    found = {
        line.partition(": ")[0].rpartition("/")[2]: line.partition(": ")[2] for line in lines if line not in summary
    }
    assert found["n01440764_8.JPEG"] == "CMYK" and found["n01443537_7.JPEG"] == "no JPEG: PNG"
    assert found["n02085620_9.JPEG"].startswith("broken: ") and len(found) == 4
    assert found["ILSVRC2012_val_00000002.JPEG"].startswith("broken: cannot identify image file")


def test_images_that_are_odd_only_do_not_fail(image_folder, capsys) -> None:
    verify(image_folder, ("val",), workers=1, expect_imagenet=False)
    assert "val: 15 images of 3 classes: 0 broken, 0 CMYK, 15 no JPEG" in capsys.readouterr().out


def test_other_numbers_than_imagenets_are_refused_unless_they_are_expected(image_folder) -> None:
    with pytest.raises(
        UserError, match=r"15 images of 3 classes, and ImageNet's val has 50000 of 1000; .*--no-expect-imagenet"
    ):
        verify(image_folder, ("val",), workers=1, expect_imagenet=True)
    check_counts(1_281_167, 1000, "train", image_folder, expect_imagenet=True)
    check_counts(50_000, 1000, "val", image_folder, expect_imagenet=True)
    for images, classes in ((1_281_166, 1000), (1_281_167, 999)):
        with pytest.raises(UserError, match="and ImageNet's train has"):
            check_counts(images, classes, "train", image_folder, expect_imagenet=True)
        check_counts(images, classes, "train", image_folder, expect_imagenet=False)


def test_a_folder_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="no folder .*/train"):
        verify(tmp_path, ("train",), workers=1, expect_imagenet=False)


def test_a_picture_in_several_parts_is_a_jpeg(tmp_path, capsys) -> None:
    (tmp_path / "val" / "a").mkdir(parents=True)
    parts = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    parts[0].save(tmp_path / "val" / "a" / "x.JPEG", "MPO", save_all=True, append_images=parts[1:])
    verify(tmp_path, ("val",), workers=1, expect_imagenet=False)
    assert "0 no JPEG" in capsys.readouterr().out
