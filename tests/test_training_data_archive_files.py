"""Archives: the images that timm's reader finds, in its order, and their bytes."""

import io
import pickle
import tarfile

import pytest
from timm.data.readers.reader_image_in_tar import ReaderImageInTar

from dcls.errors import UserError
from training.data.readers import ArchiveReader


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def contents(reader) -> list[tuple[str, bytes, int]]:
    return [(reader.filename(index), reader[index][0].read(), int(reader[index][1])) for index in range(len(reader))]


def test_an_archive_is_read_as_by_timm(tmp_path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for name in ("./b10/x10.png", "./b10/x9.png", "./b9/a.png", "./B2/1.JPEG", f"./a/{'long' * 40}.png"):
            add(archive, name, name.encode())
    ours, timms = ArchiveReader(tmp_path / "train.tar"), ReaderImageInTar(str(tmp_path / "train.tar"))
    assert contents(ours) == contents(timms) and list(ours.class_to_idx) == ["a", "B2", "b9", "b10"]
    assert ours.filename(0, basename=True) == timms.filename(0, basename=True)
    assert ours.filename(4, absolute=True) == f"{tmp_path}/train.tar: ./b10/x10.png"


def test_an_archive_of_archives_is_read_as_by_timm(tmp_path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        for name in ("n01440764", "n01443537"):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for number in (10, 9, 1):
                    add(inner, f"{name}_{number}.JPEG", f"{name} {number}".encode() * 100)
            add(archive, f"{name}.tar", buffer.getvalue())
    ours, timms = ArchiveReader(tmp_path / "train.tar"), ReaderImageInTar(str(tmp_path / "train.tar"))
    assert contents(ours) == contents(timms) and ours.class_to_idx == timms.class_name_to_idx


def test_an_open_archive_goes_to_other_processes(tmp_path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        add(archive, "cat/0.png", b"cat")
    reader = ArchiveReader(tmp_path / "train.tar")
    assert contents(pickle.loads(pickle.dumps(reader))) == contents(reader) == [("cat/0.png", b"cat", 0)]
    assert contents(pickle.loads(pickle.dumps(reader))) == contents(reader)


def test_archives_without_images_and_damaged_ones_are_refused(tmp_path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as archive:
        add(archive, "cat/notes.txt", b"")
    with pytest.raises(UserError, match=r"train.tar holds no images"):
        ArchiveReader(tmp_path / "train.tar")
    with tarfile.open(tmp_path / "val.tar", "w") as archive:
        add(archive, "cat/0.png", b"0" * 20_000)
    with open(tmp_path / "val.tar", "r+b") as file:
        file.truncate(10_000)
    with pytest.raises(tarfile.ReadError):
        ArchiveReader(tmp_path / "val.tar")
