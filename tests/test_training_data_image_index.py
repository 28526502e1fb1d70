"""The order of images and classes, against the slow definition over whole paths."""

import os
import random

import pytest
from timm.data.readers.reader_image_folder import find_images_and_targets

from training.data.image_index import ImageIndex, index_folder
from training.data.image_table import ImageTable
from training.data.natural_order import by_number_and_name

CLASSES = ["1", "01", "x", "X", "a", "a b", "a!", "b9", "B9", "b09", "b10", "früh", "Σ", "ΑΣ", "10²"]
NAMES = ["1.png", "01.png", "10.PNG", "2.JPEG", "b.gif", "Σ.png", "É1.png", "a b.png", "a!.png", "x\n.png", "0001.png"]


def paths_and_labels(index: ImageIndex, root) -> list[tuple[str, int]]:
    return list(ImageTable(str(root), index.paths, index.labels))


@pytest.mark.parametrize("inner", ["", "images"])
@pytest.mark.parametrize("order", [by_number_and_name, str])
def test_images_are_sorted_by_their_paths(tmp_path, inner, order) -> None:
    generator = random.Random(0)
    for trial in range(8):
        root = tmp_path / str(trial)
        classes = generator.sample(CLASSES, 9)
        for name in classes:
            (root / name / inner).mkdir(parents=True)
            for image in generator.sample(NAMES, generator.randrange(1, len(NAMES))):
                (root / name / inner / image).touch()
        index = index_folder(root, "data.dir", order)
        assert index.classes == sorted(classes, key=order)
        files = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
        labels = [index.classes.index(os.path.relpath(file, root).split("/")[0]) for file in files]
        key = (lambda sample: order(sample[0])) if order is by_number_and_name else (lambda sample: sample[::-1])
        assert paths_and_labels(index, root) == sorted(zip(files, labels, strict=True), key=key)


def test_timm_finds_the_same(tmp_path) -> None:
    for name in ("a", "a b", "b9", "b10"):
        (tmp_path / name).mkdir()
        for number in (1, 10, 9, 100):
            (tmp_path / name / f"{name}_{number}.jpg").touch()
    images, classes = find_images_and_targets(str(tmp_path))
    index = index_folder(tmp_path, "data.dir", by_number_and_name)
    assert paths_and_labels(index, tmp_path) == images and index.classes == list(classes)


def test_annotated_images_are_sorted_by_path_or_by_class(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    for number in (2, 10, 1):
        (tmp_path / "images" / f"{number}.png").touch()
    (tmp_path / "val_annotations.txt").write_text("1.png\tdog\n2.png\tcat\n10.png\tdog\n")
    index = index_folder(tmp_path, "data.dir", by_number_and_name)
    assert paths_and_labels(index, tmp_path) == [
        (f"{tmp_path}/images/1.png", 1), (f"{tmp_path}/images/2.png", 0), (f"{tmp_path}/images/10.png", 1)
    ]  # fmt: skip
    index = index_folder(tmp_path, "data.dir", str)
    assert paths_and_labels(index, tmp_path) == [
        (f"{tmp_path}/images/2.png", 0), (f"{tmp_path}/images/1.png", 1), (f"{tmp_path}/images/10.png", 1)
    ]  # fmt: skip
