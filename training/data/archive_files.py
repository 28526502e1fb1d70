"""The index of an archive of images: where in it each one is, and of which class."""

import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from dcls.errors import UserError
from training.data.image_files import ImageList, class_of_each, is_hidden, is_image_name, printable, time_of
from training.data.image_index import ImageIndex
from training.data.image_table import joined
from training.data.natural_order import by_number_and_name


@dataclass(frozen=True)
class Member:
    """An image.

    Attributes:
        name: As the archive has it.
        folder: With slashes; an archive within the archive counts as a folder.
        offset, size: Of its bytes in the archive.
    """

    name: str
    folder: str
    offset: int
    size: int


def index_archive(archive: Path, split_key: str) -> ImageIndex:
    """List the images of a tar archive and their classes; images are sorted by their names as timm does.

    Args:
        split_key: The key that names it, for messages.

    Raises:
        UserError: it has no images, or the class of an image is not clear.
        tarfile.ReadError: it is damaged, or no tar archive.
    """
    found = ImageList(times={"": time_of(archive.stat())})
    with tarfile.open(archive, "r:") as opened:
        members = [member for member in _images(opened) if not _is_ignored(member, found)]
    if not members:
        raise UserError(f"{printable(archive)} holds no images", key="data.dir", on_every_rank=True)
    members.sort(key=lambda member: by_number_and_name(member.name)[0])
    inner = _without_common_root({member.folder for member in members})
    for member in members:
        found.images.setdefault(inner[member.folder], []).append(os.path.basename(member.name))
    by_folder = class_of_each(found.images, archive, split_key)
    classes = sorted(set(by_folder.values()), key=by_number_and_name)
    numbers = {name: number for number, name in enumerate(classes)}
    return ImageIndex(
        classes,
        found.notes(),
        found.times,
        joined([("", [member.name for member in members])]),
        np.array([numbers[by_folder[inner[member.folder]]] for member in members], np.int32),
        np.array([(member.offset, member.size) for member in members], np.int64),
    )


def _images(opened: tarfile.TarFile) -> Iterator[Member]:
    """Yield first the images of archives within the archive, as timm does."""
    own = []
    for member in _files(opened):
        if member.name.lower().endswith(".tar"):
            archive: IO[bytes] | None = opened.extractfile(member)
            parent = os.path.splitext(member.name)[0]
            with tarfile.open(fileobj=archive, mode="r:") as inside:
                for image in _files(inside):
                    if is_image_name(image.name):
                        yield _member(image, parent, member.offset_data)
        elif is_image_name(member.name):
            own.append(_member(member, "", 0))
    yield from own


def _files(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := opened.next()) is not None:
        opened.members.clear()  # type: ignore[attr-defined]  # tarfile would keep a kilobyte of each
        if member.isfile():
            yield member


def _member(info: tarfile.TarInfo, parent: str, start: int) -> Member:
    parts = [part for part in f"{parent}/{info.name}".split("/") if part not in ("", ".")]
    return Member(info.name, "/".join(parts[:-1]), start + info.offset_data, info.size)


def _is_ignored(member: Member, found: ImageList) -> bool:
    """Whether a member or a folder that it is in is hidden; each of them is noted once."""
    path = ""
    for part in (*member.folder.split("/"), os.path.basename(member.name)):
        path = os.path.join(path, part)
        if is_hidden(part):
            found.ignore(path)
            return True
    return False


def _without_common_root(folders: Iterable[str]) -> dict[str, str]:
    """Return every folder's path without folders around all class folders, such as train/ in train.tar."""
    parts = {folder: folder.split("/") for folder in folders}
    while len({each[0] for each in parts.values()}) == 1 and all(len(each) > 1 for each in parts.values()):
        parts = {folder: each[1:] for folder, each in parts.items()}
    return {folder: "/".join(each) for folder, each in parts.items()}
