import os
import signal
from functools import partial
from pathlib import Path

import pytest
from interruptions import interrupted
from official_archives import CLASSES, write_archives

from training.data.preparation.archives import find_images
from training.data.preparation.class_folders import write_class_folders
from training.data.preparation.size_limit import SizeLimit
from training.data.readers import FolderReader

AS_IT_IS = SizeLimit(None, 95)


@pytest.fixture
def images(tmp_path):
    return find_images(write_archives(tmp_path / "archives", train=4, val=2), "train", workers=1)


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_reads_as_its_archive(tmp_path, images) -> None:
    write_class_folders(images, tmp_path / "out" / "train", AS_IT_IS, workers=2)
    assert os.listdir(tmp_path / "out") == ["train"]
    reader = FolderReader(tmp_path / "out" / "train")
    assert list(reader.class_to_idx) == CLASSES
    for index, source in images.read(range(len(images))):
        file, label = reader[index]
        assert (file.read(), label) == (source, images.labels[index])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_folder_has_whole_classes_only_and_is_completed(tmp_path, images, number, capsys) -> None:
    write_class_folders(images, tmp_path / "straight", AS_IT_IS, workers=1)
    expected = content(tmp_path / "straight")
    out = tmp_path / "train"
    write = partial(write_class_folders, images, out, AS_IT_IS, 1)
    assert interrupted(write, number, images=6) != 0
    partial_folder = tmp_path / "train.partial"
    assert not out.exists()
    assert [name for name in os.listdir(partial_folder) if not name.startswith(".")] == [CLASSES[0]]
    first = {file: os.stat(file).st_mtime_ns for file in (partial_folder / CLASSES[0]).iterdir()}
    assert interrupted(write, number, images=5) != 0  # of 8 that are missing
    assert {file: os.stat(file).st_mtime_ns for file in first} == first
    capsys.readouterr()
    write()
    assert "12/12" in capsys.readouterr().err
    assert content(out) == expected and not partial_folder.exists()


def test_a_class_from_which_a_file_was_taken_is_written_again(tmp_path, images) -> None:
    folder = tmp_path / "train.partial" / CLASSES[1]
    folder.mkdir(parents=True)
    (folder / "n01443537_7.JPEG").write_bytes(b"one of four")
    write_class_folders(images, tmp_path / "train", AS_IT_IS, workers=1)
    assert len(content(tmp_path / "train")) == 12
    assert (tmp_path / "train" / CLASSES[1] / "n01443537_7.JPEG").read_bytes() != b"one of four"


def test_a_full_disk_leaves_whole_classes_only(tmp_path, images, monkeypatch) -> None:
    original = Path.write_bytes

    def write_bytes(self, data):
        if self.name == "n01443537_9.JPEG":
            raise OSError(28, "No space left on device", str(self))
        return original(self, data)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "write_bytes", write_bytes)
        write_class_folders(images, tmp_path / "train", AS_IT_IS, workers=1)
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "train.partial").iterdir()}
    assert set(counts) in ({CLASSES[0]}, {CLASSES[0], CLASSES[2]}) and set(counts.values()) == {4}
    write_class_folders(images, tmp_path / "train", AS_IT_IS, workers=1)
    assert len(content(tmp_path / "train")) == 12
