"""Indexes kept between runs: used as long as they are right, and never in the way."""

import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import write_image_folder

from training.data import index_cache
from training.data.image_index import index_folder
from training.data.natural_order import by_number_and_name
from training.data.readers import ArchiveReader, FolderReader


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Keep indexes of small folders, too, in a place of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "_FEWEST_IMAGES", 1)
    return tmp_path / "cache" / "dcls"


@pytest.fixture
def folder(image_folder) -> Path:
    settle(image_folder / "train")
    return image_folder / "train"


def settle(folder: Path) -> None:
    """Let all changes of a folder have been a while ago."""
    for inside in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        os.utime(inside, (1e9, 1e9))


class Counted:
    """Lists a folder, and counts how often."""

    def __init__(self, root: Path, order=by_number_and_name) -> None:
        self.root, self.order, self.count = root, order, 0

    def _build(self):
        self.count += 1
        return index_folder(self.root, "data.dir", self.order)

    def open(self):
        index = index_cache.cached_index(self.root, self.order.__name__, self._build)
        fresh = index_folder(self.root, "data.dir", self.order)
        assert (index.classes, index.notes, index.times) == (fresh.classes, fresh.notes, fresh.times)
        assert np.array_equal(index.paths, fresh.paths) and np.array_equal(index.labels, fresh.labels)
        return index


def test_a_folder_is_listed_once(folder, cache) -> None:
    (folder / "top" / "0.heic").touch()
    (folder / "top" / ".0.png").touch()
    settle(folder)
    reader = Counted(folder)
    for _ in range(3):
        assert len(reader.open().notes) == 2
    assert reader.count == 1
    ours, again = FolderReader(folder), FolderReader(folder)
    assert list(ours.samples) == list(again.samples) and ours.notes == again.notes
    assert ours.class_to_idx == again.class_to_idx


def test_orders_are_kept_apart(folder, cache) -> None:
    for order in (by_number_and_name, str, by_number_and_name, str):
        Counted(folder, order).open()
    assert len(list(cache.iterdir())) == 2


def test_every_change_of_a_folder_is_seen(folder, cache, monkeypatch) -> None:
    monkeypatch.setattr(index_cache, "_NEWEST_SECONDS", 0.0)

    def link_elsewhere() -> None:
        write_image_folder(folder.parent / "elsewhere", train=3)
        (folder / "linked").symlink_to(folder.parent / "elsewhere" / "train" / "top")

    changes = [
        lambda: (folder / "top" / "0.png").unlink(),
        lambda: (folder / "top" / "1.png").rename(folder / "top" / "new.png"),
        lambda: (folder / "top" / "2.png").rename(folder / "middle" / "more.png"),
        lambda: (folder / "top" / "note.txt").touch(),
        lambda: (folder / "top").rename(folder / "right"),
        lambda: (folder / "right" / "empty").mkdir(),
        lambda: (folder / "right" / "empty" / "note.txt").touch(),
        link_elsewhere,
        lambda: (folder.parent / "elsewhere" / "train" / "top" / "0.png").unlink(),
    ]
    reader = Counted(folder)
    reader.open()
    for number, change in enumerate(changes, start=2):
        time.sleep(0.02)  # longer than a tick of the file system's clock
        change()
        time.sleep(0.02)
        reader.open()
        reader.open()
        assert reader.count == number


def test_a_new_class_of_an_annotated_image_is_seen(tmp_path, cache) -> None:
    root = tmp_path / "val"
    (root / "images").mkdir(parents=True)
    (root / "images" / "0.png").touch()
    for name in ("cat", "dog"):
        (root / "val_annotations.txt").write_text(f"0.png\t{name}\n")
        settle(root)
        os.utime(root / "val_annotations.txt", (0, 100 if name == "cat" else 200))
        assert FolderReader(root).class_to_idx == {name: 0}


def test_another_folder_in_its_place_is_seen(folder, cache) -> None:
    Counted(folder).open()
    folder.rename(folder.parent / "old")
    write_image_folder(folder.parent.parent / "other", train=3)
    (folder.parent.parent / "other" / "train").rename(folder)
    settle(folder)
    assert len(Counted(folder).open().labels) == 9


def test_a_folder_that_has_just_changed_is_not_kept(folder, cache) -> None:
    """A change within the same tick of the file system's clock would leave the time as it is."""
    (folder / "top" / "new.png").touch()
    reader = Counted(folder)
    reader.open()
    reader.open()
    assert reader.count == 2 and not cache.exists()


def test_small_folders_are_not_kept(folder, cache, monkeypatch) -> None:
    monkeypatch.setattr(index_cache, "_FEWEST_IMAGES", 37)
    Counted(folder).open()
    assert not cache.exists()


def test_a_damaged_index_is_built_again(folder, cache) -> None:
    reader = Counted(folder)
    reader.open()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    generator = random.Random(0)
    damaged = [whole[:length] for length in (0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1)] + [whole + b"0"]
    for _ in range(100):
        place = generator.randrange(len(whole))
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << generator.randrange(8)]) + whole[place + 1 :])
    for number, content in enumerate(damaged, start=2):
        file.write_bytes(content)
        reader.open()
        assert reader.count == number and file.read_bytes() == whole


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_a_cache_that_cannot_be_used_is_no_error(folder, cache, obstacle) -> None:
    if obstacle == "file":
        cache.parent.write_text("no folder")
    else:
        Counted(folder).open()
        (file,) = cache.iterdir()
        file.unlink()
        file.mkdir()
    reader = Counted(folder)
    reader.open()
    reader.open()
    assert reader.count == 2


def test_a_cache_that_can_only_be_read_is_used(folder, cache, monkeypatch) -> None:
    Counted(folder).open()

    def refuse(*arguments, **options) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(os, "utime", refuse)
    reader = Counted(folder)
    reader.open()
    assert reader.count == 0


def test_without_a_home_nothing_is_kept(folder, cache, monkeypatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    reader = Counted(folder)
    reader.open()
    reader.open()
    assert reader.count == 2


def test_indexes_that_were_not_used_for_longest_give_way(folder, cache, monkeypatch) -> None:
    monkeypatch.setattr(index_cache, "_MOST_FILES", 2)
    splits = [folder, folder.parent / "val", folder.parent / "test"]
    (folder.parent / "test" / "cat").mkdir(parents=True)
    (folder.parent / "test" / "cat" / "0.png").touch()
    readers = [Counted(split) for split in splits]
    for split in splits:
        settle(split)
    for number in (0, 1, 0, 2, 0, 1):
        readers[number].open()
    assert [reader.count for reader in readers] == [1, 2, 1] and len(list(cache.iterdir())) == 2


def test_an_archive_is_listed_once_until_it_changes(image_folder, cache) -> None:
    for classes, changed in ((["bottom", "middle", "top"], 1e9), (["bottom", "middle"], 1.1e9)):
        archive = Path(shutil.make_archive(str(image_folder / "packed"), "tar", image_folder / "train"))
        os.utime(archive, (changed, changed))
        first, again = ArchiveReader(archive), ArchiveReader(archive)
        assert list(first.class_to_idx) == list(again.class_to_idx) == classes and len(first) == 12 * len(classes)
        assert [first[i][0].read() for i in range(len(first))] == [again[i][0].read() for i in range(len(again))]
        shutil.rmtree(image_folder / "train" / "top", ignore_errors=True)
    assert len(list(cache.iterdir())) == 1
