"""Where in ImageNet's official archives which image is, read from their headers alone."""

import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dcls.errors import UserError
from training.data.image_files import is_image_name, printable
from training.data.natural_order import by_number_and_name, sorted_by_number_and_name
from training.data.preparation.cores import on_all_cores, progress, until_stopped
from training.data.preparation.devkit import DEVKIT, validation_classes

ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
_NUMBER = re.compile(r"_(\d+)\.\w+$")
_AGAIN = "download it again"


class Member(NamedTuple):
    """A file in an archive: its name, and where it is in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class SourceImages:
    """The images of a split in their archive, in the order of a folder of them.

    Attributes:
        archive: The file.
        classes: Names of the classes in the order of their labels.
        names: (N,) names of the images' files, as bytes.
        labels: (N,)
        offsets: (N,) in bytes.
        sizes: (N,) in bytes.
    """

    archive: Path
    classes: list[str]
    names: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the index and the file of each of some images."""
        with self.archive.open("rb") as file:
            for index in indices:
                file.seek(int(self.offsets[index]))
                yield index, file.read(int(self.sizes[index]))


def find_images(folder: Path, split: str, workers: int) -> SourceImages:
    """Look through the archive of a split.

    Args:
        folder: What holds the official archives.
        split: "train" or "val".
        workers: Number of processes.

    Raises:
        UserError: an archive is missing or damaged, or is not what ImageNet's is.
    """
    archive = folder / ARCHIVES[split]
    if not archive.is_file():
        other = "train" if split == "val" else "val"
        raise UserError(
            f"no {archive.name} in {printable(folder)}",
            f"download it, or give --split {other} to go without",
        )
    by_class = _train_images(archive, workers) if split == "train" else _val_images(archive, folder / DEVKIT)
    classes = sorted(by_class, key=by_number_and_name)
    members = [member for name in classes for member in _sorted(by_class[name])]
    labels = np.repeat(np.arange(len(classes), dtype=np.uint32), [len(by_class[name]) for name in classes])
    return SourceImages(
        archive,
        classes,
        np.array([os.fsencode(member.name) for member in members], dtype=np.bytes_),
        labels,
        np.array([member.offset for member in members], dtype=np.int64),
        np.array([member.size for member in members], dtype=np.int64),
    )


def list_members(archive: Path, start: int = 0, end: int | None = None) -> list[Member]:
    """Return the files in a tar archive, or in one inside it.

    Python's own reader takes a damaged header for the end of the archive; here it is an error.

    Args:
        start, end: Where the archive is in the file, in bytes.

    Raises:
        UserError: it is damaged, or ends early.
    """
    size = archive.stat().st_size
    end = size if end is None else end
    with archive.open("rb") as file:
        file.seek(start)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                members = [Member(m.name, m.offset_data, m.size) for m in until_stopped(tar) if m.isfile()]
                stop = tar.offset
        except tarfile.TarError as error:
            raise UserError(f"{printable(archive)} is damaged: {error}", _AGAIN) from None
        file.seek(stop)
        block = file.read(min(tarfile.BLOCKSIZE, max(0, end - stop)))
    if not members or block != bytes(tarfile.BLOCKSIZE):  # of zeros, with which every archive ends
        where = f"byte {stop}" if start == 0 else f"the archive in it from byte {start}"
        raise UserError(f"{printable(archive)} is damaged or not complete, at {where} of {size}", _AGAIN)
    return members


def _train_images(archive: Path, workers: int) -> dict[str, list[Member]]:
    """Return class -> its images, of an archive of one archive a class."""
    inner = list_members(archive)
    for member in inner:
        if PurePosixPath(member.name).suffix != ".tar":
            raise UserError(
                f"{printable(archive)} holds {printable(member.name)}, and ImageNet's holds archives of one class each",
                "give the official archive",
            )
    images: dict[str, list[Member]] = {}
    with (
        on_all_cores(_images_of_a_class, archive, inner, workers) as results,
        progress(len(inner), 0, "looking through the archive of train") as bar,
    ):
        bar.unit = "class"
        for name, members in results:
            if name in images:
                raise UserError(f"{printable(archive)} holds the class {printable(name)} twice", _AGAIN)
            images[name] = members
            bar.update()
    return images


def _images_of_a_class(archive: Path, inner: Member) -> tuple[str, list[Member]]:
    members = list_members(archive, inner.offset, inner.offset + inner.size)
    return PurePosixPath(inner.name).stem, _with_plain_names(members, archive)


def _val_images(archive: Path, devkit: Path) -> dict[str, list[Member]]:
    """Return class -> its images, which are numbered as the lines of the ground truth."""
    classes = validation_classes(devkit)
    members = _with_plain_names(list_members(archive), archive)
    if len(members) != len(classes):
        raise UserError(
            f"{printable(archive)} holds {len(members)} images, and {DEVKIT} tells the classes of {len(classes)}",
            "take both from the same place",
        )
    images: dict[str, list[Member]] = {}
    for member in members:
        number = _NUMBER.search(member.name)
        if number is None or not 1 <= int(number[1]) <= len(classes):
            raise UserError(
                f"{printable(archive)} holds {printable(member.name)}, which is none of the images 1 to {len(classes)}",
                "give the official archive",
            )
        images.setdefault(classes[int(number[1]) - 1], []).append(member)
    return images


def _with_plain_names(members: Sequence[Member], archive: Path) -> list[Member]:
    """Return the members without the folders that they may be in."""
    plain = [member._replace(name=PurePosixPath(member.name).name) for member in members]
    (most, count) = Counter(member.name for member in plain).most_common(1)[0]
    odd = most if count > 1 else next((member.name for member in plain if not is_image_name(member.name)), None)
    if odd is not None:
        problem = f"{printable(odd)} {count} times" if odd == most and count > 1 else f"{printable(odd)}, no image"
        raise UserError(f"{printable(archive)} holds {problem}", "give the official archive")
    return plain


def _sorted(members: Sequence[Member]) -> list[Member]:
    by_name = {member.name: member for member in members}
    return [by_name[name] for name in sorted_by_number_and_name(list(by_name))]
