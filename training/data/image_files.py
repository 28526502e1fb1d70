"""Which files of a folder or an archive are images, and of which class: by their folders, and never by guessing."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from timm.data.readers.img_extensions import add_img_extensions
from timm.data.readers.reader_image_folder import ReaderImageFolder
from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from timm.utils.misc import natural_key

from dcls.errors import UserError

_NO_PICTURES = {"MPEG", "HDF5", "BUFR", "GRIB", "WMF", "EPS", "IPTC", "GBR"}  # what Pillow opens, but cannot draw
_OF_THE_SYSTEM = {
    "@eaDir", "@tmp", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information",
    "__MACOSX", "__pycache__", "lost+found",
}  # fmt: skip
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "eval", "test", "testing"}
_ANNOTATIONS = "val_annotations.txt"
_NAMED = 3


def _suffixes() -> frozenset[str]:
    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in Image.OPEN and kind not in _NO_PICTURES)


SUFFIXES = _suffixes()
"""Suffixes of the image files that Pillow reads, in lower case."""
add_img_extensions(sorted(SUFFIXES))  # timm's reader of archives looks for these


@dataclass
class ImageList:
    """What was found.

    Attributes:
        paths: Of the images, relative to where they were looked for, with slashes.
        ignored: Hidden folders and files, and those that a system or a program keeps for itself.
        unread: Suffixes of other files beside the images of a class -> how many there are.
    """

    paths: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, path: str) -> None:
        """Sort in one file."""
        folder, _, name = path.rpartition("/")
        is_image = is_image_name(name)
        hidden = _hidden_folder(folder) or (path if is_image and _is_hidden(name) else "")
        if hidden:
            if hidden not in self.ignored[-1:]:
                self.ignored.append(hidden)
        elif is_image:
            self.paths.append(path)
        elif folder and not _is_hidden(name):
            self.unread[PurePosixPath(name).suffix or "without suffix"] += 1

    def notes(self, where: str | Path) -> list[str]:
        """Say in a line each what was left out, and is not used."""
        lines = []
        if self.ignored:
            more = f" and {len(self.ignored) - _NAMED} more" if len(self.ignored) > _NAMED else ""
            names = ", ".join(map(printable, self.ignored[:_NAMED]))
            lines.append(f"{printable(where)}: ignored hidden or system folders and files: {names}{more}")
        if self.unread:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.unread.most_common(5))
            lines.append(f"{printable(where)}: left out files that are no images that Pillow reads: {kinds}")
        return lines


def is_image_name(path: str) -> bool:
    """Return whether a file's suffix is that of an image."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def printable(name: str | Path) -> str:
    """Return a file's name for a message of one line, even if it has line ends or bytes that are no text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


def by_number_and_name(name: str) -> tuple[Any, str]:
    """Sort as timm, numbers by their values, and names that are equal then, such as 1 and 01, always in one order."""
    return natural_key(name), name


class FolderReader(ReaderImageFolder):
    """timm's reader of a folder, with the classes of ``class_of_each``.

    Args:
        root: The split's folder.
        split_key: The key that names it, for messages.
        order: Sorts the classes; images go by class and name with ``str``, as torchvision has them.

    Raises:
        UserError: it is missing or empty, or the class of an image is not clear.
    """

    def __init__(
        self, root: Path, split_key: str = "data.dir", order: Callable[[str], Any] = by_number_and_name
    ) -> None:
        check_folder(root)
        found = list_folder(root)
        self.root = str(root)
        self.notes = found.notes(root)
        annotated = _annotated_classes(root, found.paths)
        classes = annotated or class_of_each(found.paths, root, split_key)
        if annotated is None:
            _check_class_folders(root, set(classes))
        self.class_to_idx = {name: index for index, name in enumerate(sorted(set(classes), key=order))}
        samples = [
            (f"{self.root}/{path}", self.class_to_idx[name]) for path, name in zip(found.paths, classes, strict=True)
        ]
        self.samples = sorted(samples, key=lambda sample: (sample[1] if order is str else 0, order(sample[0])))


class ArchiveReader(ReaderImageInTar):
    """timm's reader of an archive, with the classes of ``class_of_each``.

    Args:
        root: The archive.
        split_key: The key that names it, for messages.

    Raises:
        UserError: the class of an image is not clear.
    """

    def __init__(self, root: Path, split_key: str = "data.dir") -> None:
        super().__init__(str(root))
        found = ImageList()
        inside = [_member_path(*sample) for sample in self.samples]
        for path in inside:
            found.add(path)
        self.notes = found.notes(root)
        kept = set(found.paths)
        self.samples = self.samples[[path in kept for path in inside]]
        paths = _without_common_root([path for path in inside if path in kept])
        if not paths:
            raise UserError(f"{printable(root)} holds no images", key="data.dir", on_every_rank=True)
        classes = class_of_each(paths, root, split_key)
        names = sorted(set(classes), key=by_number_and_name)
        self.class_name_to_idx = {name: index for index, name in enumerate(names)}
        self.class_idx_to_name = dict(enumerate(names))
        self.targets = np.array([self.class_name_to_idx[name] for name in classes])

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        name = super()._filename(index, basename, absolute)
        return f"{self.root}: {name}" if absolute else name


def list_folder(folder: Path) -> ImageList:
    """List all files in a folder and its folders, through links too, but not round in circles."""
    found = ImageList()
    for path in _walk(str(folder), "", frozenset()):
        found.add(path)
    return found


def _walk(folder: str, prefix: str, parents: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder)
    identity = status.st_dev, status.st_ino
    if identity in parents:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if not entry.is_dir():
                yield path
            elif _is_hidden(entry.name):
                yield f"{path}/"
            else:
                yield from _walk(entry.path, f"{path}/", parents | {identity})


def check_folder(folder: Path) -> None:
    """Refuse what is no folder.

    Raises:
        UserError: it is missing, or something else.
    """
    if not folder.is_dir():
        where = "" if folder.is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"no folder {printable(folder)}{where}",
            f"expected one folder of images per class in it, or an archive of them, {folder.name}.tar",
            key="data.dir",
            on_every_rank=True,
        )


def class_of_each(paths: Sequence[str], where: Path, split_key: str) -> list[str]:
    """Return the class of every image: the first folder of its path.

    Images may be one folder deeper if that has the same name in all classes, as in Tiny-ImageNet (n01443537/images).

    Args:
        paths: Relative to ``where``, with slashes.
        split_key: The key that names ``where``, for messages.

    Raises:
        UserError: images are in no class folder, or in folders within class folders.
    """
    folders = [path.split("/")[:-1] for path in paths]
    _refuse_strays([path for path, parents in zip(paths, folders, strict=True) if not parents], where, len(paths))
    deep = min((parents for parents in folders if len(parents) > 1), default=None)
    if deep is not None and not _have_one_inner_folder(folders):
        itself = "holds images itself, and {} too" if deep[:1] in folders else "holds no images itself, but {} does"
        raise UserError(
            f"{printable(where)} is not a split: its folder {printable(deep[0])} "
            f"{itself.format(printable(where.joinpath(*deep)))}, and images would be counted to the wrong classes",
            "name the folder that holds the class folders",
            key=split_key,
            on_every_rank=True,
        )
    return [parents[0] for parents in folders]


def _have_one_inner_folder(folders: Iterable[Sequence[str]]) -> bool:
    """Whether all images are in CLASS/NAME with one NAME, and CLASS is not a split, whose classes NAME would be."""
    kinds = {tuple(parents) for parents in folders}
    return (
        all(len(parents) == 2 for parents in kinds)
        and len({parents[1] for parents in kinds}) == 1
        and not {parents[0].lower() for parents in kinds} <= _SPLITS
    )


def _refuse_strays(strays: Sequence[str], where: Path, count: int) -> None:
    if not strays:
        return
    if len(strays) < count:
        raise UserError(
            f"{printable(where)} holds {printable(strays[0])}{_more(strays)} beside the class folders, of no class",
            "move it into the folder of its class, or remove it",
            key="data.dir",
            on_every_rank=True,
        )
    raise UserError(
        f"{printable(where)} holds no class folders, but {count} images directly, whose classes nobody knows",
        "sort them into one folder per class (for ImageNet's archives of images as they were released, "
        "data.dataset=torch/imagenet does it)",
        key="data.dir",
        on_every_rank=True,
    )


def _check_class_folders(root: Path, classes: set[str]) -> None:
    """Refuse class folders without images, which would be missing or shift the numbers of others without a word."""
    with os.scandir(root) as entries:
        inside = sorted((entry for entry in entries if not _is_hidden(entry.name)), key=lambda entry: entry.name)
    for entry in inside:
        if entry.is_symlink() and not os.path.exists(entry.path):
            raise UserError(
                f"{printable(entry.path)} is a link to {printable(os.readlink(entry.path))}, which does not exist",
                "correct or remove the link",
                key="data.dir",
                on_every_rank=True,
            )
    folders = [entry for entry in inside if entry.is_dir()]
    if not folders:
        raise UserError(f"{printable(root)} holds no class folders", key="data.dir", on_every_rank=True)
    for folder in folders:
        if folder.name not in classes:
            kinds = sorted({PurePosixPath(name).suffix for name in os.listdir(folder)} - {""})
            raise UserError(
                f"the class folder {printable(folder.path)} holds no image that Pillow reads"
                + (f", only {' '.join(kinds[:5])}" if kinds else ""),
                "fill it, or remove it everywhere, because the numbers of all classes after it would shift",
                key="data.dir",
                on_every_rank=True,
            )


def _annotated_classes(root: Path, paths: Sequence[str]) -> list[str] | None:
    """Return the class of every image by Tiny-ImageNet's val_annotations.txt, None where there is no such file.

    Raises:
        UserError: an image is not in it.
    """
    file = root / _ANNOTATIONS
    if not file.is_file() or not paths or {path.rpartition("/")[0] for path in paths} - {"", "images"}:
        return None
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    by_name = {row[0]: row[1] for row in rows if len(row) > 1}
    unknown = [path for path in paths if path.rpartition("/")[2] not in by_name]
    if unknown:
        raise UserError(
            f"{printable(file)} gives no class for {printable(unknown[0])}{_more(unknown)}",
            "complete it, or remove the image",
            key="data.dir",
            on_every_rank=True,
        )
    return [by_name[path.rpartition("/")[2]] for path in paths]


def _member_path(member: Any, _archive: Any, inner: Any) -> str:
    """Return the path of an archive's member; an archive within it counts as a folder."""
    parent = os.path.splitext(inner.name)[0] if inner is not None else ""
    return "/".join(part for part in f"{parent}/{member.path}".split("/") if part not in ("", "."))


def _without_common_root(paths: list[str]) -> list[str]:
    """Leave out folders around all class folders, such as train/ in train.tar."""
    parts = [path.split("/") for path in paths]
    while parts and len({each[0] for each in parts}) == 1 and all(len(each) > 2 for each in parts):
        parts = [each[1:] for each in parts]
    return ["/".join(each) for each in parts]


@cache
def _hidden_folder(folder: str) -> str:
    """Return the path as far as the first hidden folder in it, or nothing where there is none."""
    parts = folder.split("/")
    depth = next((depth for depth, part in enumerate(parts, 1) if _is_hidden(part)), 0)
    return "/".join(parts[:depth])


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _OF_THE_SYSTEM


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
