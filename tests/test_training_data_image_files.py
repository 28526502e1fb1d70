"""Layouts of folders and archives of images: read where the meaning is clear, else refused by name."""

import re
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from timm.data.readers.reader_image_folder import ReaderImageFolder
from torchvision.datasets import ImageFolder

from dcls.errors import UserError
from training.config import DataConfig
from training.data.image_files import SUFFIXES, printable
from training.data.readers import FolderReader
from training.data.splits import class_names, count_classes, is_image_folder, open_dataset, say_what_is_left_out


def opened(folder: Path, split: str = "train", dataset: str = ""):
    config = DataConfig(dir=str(folder), dataset=dataset)
    return open_dataset(config, split, is_training=split == "train", batch_size=4, seed=0)


def samples(dataset) -> list[tuple[str, int]]:
    return [(dataset.filename(index, basename=True), int(dataset.reader[index][1])) for index in range(len(dataset))]


def picture(path: Path, color: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (color, 0, 0)).save(path)
    return path


def archived(folder: Path, split: str, name: str = ".") -> None:
    with tarfile.open(folder / f"{split}.tar", "w") as archive:
        archive.add(folder / split, name)
    shutil.rmtree(folder / split)


@pytest.fixture(params=["folder", "archive"])
def as_stored(request):
    """Leave a split as a folder, or make an archive of it."""
    return (lambda folder, split: None) if request.param == "folder" else archived


def test_images_and_classes_have_timms_order(tmp_path) -> None:
    for name in ("b10/x10.png", "b10/x9.png", "b9/a.png", "B2/1.png", "a/01x.png"):
        picture(tmp_path / name)
    ours, timms = FolderReader(tmp_path), ReaderImageFolder(str(tmp_path))
    assert list(ours.samples) == timms.samples and ours.class_to_idx == timms.class_to_idx
    assert list(ours.class_to_idx) == ["a", "B2", "b9", "b10"]


def test_names_that_are_equal_numbers_have_one_order(tmp_path) -> None:
    for name in ("1", "01", "001", "x", "X"):
        picture(tmp_path / name / "0.png")
    assert list(FolderReader(tmp_path).class_to_idx) == ["001", "01", "1", "X", "x"]


def test_torchvisions_folder_reads_each_split_in_torchvisions_order(image_folder) -> None:
    for split in ("train", "val"):
        for name in ("class10", "class2"):
            picture(image_folder / split / name / "10.png")
            picture(image_folder / split / name / "9.png")
    for split, count in (("train", 40), ("val", 19)):
        theirs = ImageFolder(str(image_folder / split))
        for name in ("torch/image_folder", "torch/folder"):
            assert is_image_folder(name)
            ours = opened(image_folder, split, name)
            assert list(ours.reader.samples) == theirs.samples and len(ours) == count
            assert class_names(ours) == theirs.classes == ["bottom", "class10", "class2", "middle", "top"]
    assert class_names(opened(image_folder)) == ["bottom", "class2", "class10", "middle", "top"]


def test_a_picture_beside_the_class_folders_is_refused_by_name(image_folder, as_stored) -> None:
    picture(image_folder / "train" / "overview.jpg")
    as_stored(image_folder, "train")
    with pytest.raises(UserError, match=r"data.dir: .*train.* holds overview.jpg beside the class folders.*; move it"):
        opened(image_folder)


def test_hidden_and_system_folders_are_no_classes_and_said(image_folder, as_stored, capsys) -> None:
    before = samples(opened(image_folder)), class_names(opened(image_folder))
    for name in (
        ".ipynb_checkpoints/copy.png", "top/.ipynb_checkpoints/0-checkpoint.png", "top/@eaDir/0.png/thumb.jpg",
        "@eaDir/x.jpg", "__MACOSX/top/0.png", "top/._0.png", ".hidden.png", "middle/.DS_Store", "#recycle/cat/0.png",
    ):  # fmt: skip
        picture((image_folder / "train" / name).with_suffix(".png")).rename(image_folder / "train" / name)
    as_stored(image_folder, "train")
    dataset = opened(image_folder)
    assert (samples(dataset), class_names(dataset)) == before
    say_what_is_left_out(dataset)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"note: .*train.*: ignored hidden or system folders and files: .* and \d more$", line)


def test_other_files_beside_images_are_said(image_folder, capsys) -> None:
    for name in ("top/0.heic", "top/1.HEIC", "middle/notes.txt", "README"):
        (image_folder / "train" / name).touch()
    dataset = opened(image_folder)
    assert len(dataset) == 36
    say_what_is_left_out(dataset)
    assert "left out files that are no images that Pillow reads: 1 .HEIC, 1 .heic, 1 .txt" in capsys.readouterr().err


def test_every_format_that_pillow_reads_is_read(tmp_path, as_stored) -> None:
    suffixes = [".png", ".jpg", ".JPEG", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".jp2", ".tga"]
    for name in ("cat", "dog"):
        for index, suffix in enumerate(suffixes):
            picture(tmp_path / "train" / name / f"{index}{suffix}")
    as_stored(tmp_path, "train")
    dataset = opened(tmp_path)
    assert samples(dataset) == [
        (f"{index}{suffix}", label) for label in (0, 1) for index, suffix in enumerate(suffixes)
    ]
    assert {suffix.lower() for suffix in suffixes} <= SUFFIXES and not {".h5", ".pdf", ".txt", ".mpg"} & SUFFIXES


def test_tiny_imagenet_is_read_as_it_is_released(tmp_path) -> None:
    for split in ("train", "test"):
        for name in ("n01443537", "n01629819"):
            picture(tmp_path / split / name / "images" / f"{name}_0.JPEG")
            (tmp_path / split / name / f"{name}_boxes.txt").touch()
    for index in range(3):
        picture(tmp_path / "val" / "images" / f"val_{index}.JPEG")
    rows = ["val_0.JPEG\tn01629819\t0\t0\t1\t1", "val_1.JPEG\tn01443537\t0\t0\t1\t1", "val_2.JPEG\tn01629819\t0"]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows))
    train, val = opened(tmp_path), opened(tmp_path, "val")
    assert samples(train) == [("n01443537_0.JPEG", 0), ("n01629819_0.JPEG", 1)]
    assert samples(val) == [("val_0.JPEG", 1), ("val_1.JPEG", 0), ("val_2.JPEG", 1)]
    assert count_classes(train, val, None) == 2 and class_names(train) == class_names(val)
    picture(tmp_path / "val" / "images" / "val_3.JPEG")
    with pytest.raises(UserError, match=r"val_annotations.txt gives no class for images/val_3.JPEG; complete it"):
        opened(tmp_path, "val")


def test_tiny_imagenet_in_an_archive(tmp_path) -> None:
    for name in ("n01443537", "n01629819"):
        picture(tmp_path / "train" / name / "images" / f"{name}_0.JPEG")
    archived(tmp_path, "train")
    assert samples(opened(tmp_path)) == [("n01443537_0.JPEG", 0), ("n01629819_0.JPEG", 1)]


def test_an_archive_may_have_a_folder_around_the_classes(image_folder) -> None:
    before = samples(opened(image_folder))
    archived(image_folder, "train", "imagenet/train")
    assert samples(opened(image_folder)) == before


def test_flat_folders_of_images_get_the_true_advice(tmp_path, as_stored) -> None:
    for index in range(3):
        picture(tmp_path / "val" / f"ILSVRC2012_val_0000000{index}.JPEG")
    as_stored(tmp_path, "val")
    with pytest.raises(UserError) as error:
        opened(tmp_path, "val")
    assert "holds no class folders, but 3 images directly" in str(error.value)
    assert "sort them into one folder per class" in str(error.value)


def test_nested_folders_that_mean_nothing_clear_are_refused(image_folder, as_stored) -> None:
    picture(image_folder / "train" / "top" / "extra" / "0.png")
    as_stored(image_folder, "train")
    with pytest.raises(UserError, match=r"is not a split: its folder top holds images itself, and .*top/extra too"):
        opened(image_folder)


def test_splits_of_one_class_are_no_classes(tmp_path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / split / "cat" / "0.png")
    with pytest.raises(UserError, match=r"is not a split: its folder train holds no images itself, but .*train/cat"):
        opened(tmp_path, ".")


def test_an_unread_format_is_told_for_a_class_without_images(image_folder) -> None:
    for file in (image_folder / "train" / "top").iterdir():
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"train/top holds no image that Pillow reads, only \.heic; fill it"):
        opened(image_folder)


def test_links_are_followed_and_broken_ones_named(image_folder, tmp_path) -> None:
    shutil.move(image_folder / "train" / "top", tmp_path / "elsewhere")
    (image_folder / "train" / "top").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(image_folder / "train" / "top")
    assert len(opened(image_folder)) == 36 and class_names(opened(image_folder)) == ["bottom", "middle", "top"]
    (image_folder / "train" / "right").symlink_to("/nowhere/right")
    with pytest.raises(UserError, match=r"train/right is a link to /nowhere/right, which does not exist"):
        opened(image_folder)


def test_names_in_messages_are_one_line() -> None:
    assert printable("cat\n1\x1b[31m.png") == r"cat\n1\x1b[31m.png"
    assert printable("früh 貓.png") == "früh 貓.png"
    assert printable(b"\xff.png".decode("utf-8", "surrogateescape")) == r"\udcff.png"


def test_class_names_with_line_ends_stay_one_line_in_messages(image_folder) -> None:
    picture(image_folder / "train" / "odd\nname" / "0.png")
    with pytest.raises(UserError) as error:
        count_classes(opened(image_folder), opened(image_folder, "val"), None)
    assert "\n" not in str(error.value) and r"odd\nname" in str(error.value)
