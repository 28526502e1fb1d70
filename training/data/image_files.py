"""Which files of a folder are images, and of which class: by their folders, and never by guessing."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from PIL import Image

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


@dataclass
class ImageList:
    """What was found.

    Attributes:
        images: Folder, relative to where images were looked for and with slashes -> names of the images in it.
        ignored: The first hidden folders and files, and those that a system or a program keeps for itself.
        num_ignored: How many there are.
        unread: Suffixes of other files beside the images of a class -> how many there are.
        times: What may change, relative to where images were looked for -> ``time_of`` it.
    """

    images: dict[str, list[str]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    num_ignored: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    times: dict[str, list[int]] = field(default_factory=dict)
    _last_ignored: str = ""

    def add(self, folder: str, names: Iterable[str]) -> None:
        """Sort in the files of a folder."""
        images = []
        for name in names:
            dot = name.rfind(".")
            if dot > 0 and name[0] != "." and _is_image_suffix(name[dot:]):
                images.append(name)
            else:
                self._add_other(folder, name)
        if images:
            self.images.setdefault(folder, []).extend(images)

    def ignore(self, path: str) -> None:
        """Leave out a hidden folder or file, which counts once if it comes several times in a row."""
        if path != self._last_ignored:
            self._last_ignored = path
            self.num_ignored += 1
            self.ignored = [*self.ignored, path][:_NAMED]

    def _add_other(self, folder: str, name: str) -> None:
        if is_hidden(name):
            if is_image_name(name):
                self.ignore(below(folder, name))
        elif folder:
            self.unread[PurePosixPath(name).suffix or "without suffix"] += 1

    def notes(self) -> list[str]:
        """Say in a line each what was left out, and is not used."""
        lines = []
        if self.ignored:
            more = f" and {self.num_ignored - _NAMED} more" if self.num_ignored > _NAMED else ""
            names = ", ".join(map(printable, self.ignored))
            lines.append(f"ignored hidden or system folders and files: {names}{more}")
        if self.unread:
            commonest = sorted(self.unread.items(), key=lambda kind: (-kind[1], kind[0]))[:5]
            kinds = ", ".join(f"{count} {printable(suffix)}" for suffix, count in commonest)
            lines.append(f"left out files that are no images that Pillow reads: {kinds}")
        return lines


def list_folder(folder: Path) -> ImageList:
    """List all files in a folder and its folders, but for hidden folders."""
    found = ImageList()
    for relative, status, folders, files in walk(str(folder)):
        found.times[relative] = time_of(status)
        found.add(relative, files)
        for name in filter(is_hidden, folders):
            found.ignore(below(relative, name))
    return found


def walk(
    folder: str, relative: str = "", parents: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[str, os.stat_result, list[str], list[str]]]:
    """Go through a folder and those below it that are not hidden, through links too, but not round in circles.

    Yields:
        A folder's path relative to the first one, its status, and the names of the folders and of the files in it.
    """
    status = os.stat(folder)
    identity = status.st_dev, status.st_ino
    if identity in parents:
        return
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir() else files).append(entry.name)
    folders.sort()
    yield relative, status, folders, files
    for name in folders:
        if not is_hidden(name):
            yield from walk(f"{folder}/{name}", below(relative, name), parents | {identity})


def below(folder: str, name: str) -> str:
    """Return the path of what is in a folder, which is empty for the first one."""
    return f"{folder}/{name}" if folder else name


def time_of(status: os.stat_result) -> list[int]:
    """Return inode, size, and time of change in ns: one differs once a folder's entries or a file's content do."""
    return [status.st_ino, status.st_size, status.st_mtime_ns]


@lru_cache(1024)
def _is_image_suffix(suffix: str) -> bool:
    return suffix.lower() in SUFFIXES


def is_image_name(path: str) -> bool:
    """Return whether a file's suffix is that of an image."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def printable(name: str | Path) -> str:
    """Return a file's name for a message of one line, even if it has line ends or bytes that are no text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


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


def class_of_each(images: Mapping[str, Sequence[str]], where: Path, split_key: str) -> dict[str, str]:
    """Return the class of every folder of images: the first folder of its path.

    Images may be one folder deeper if that has the same name in all classes, as in Tiny-ImageNet (n01443537/images).

    Args:
        images: Folder, relative to ``where`` and with slashes -> names of the images in it, at least one.
        split_key: The key that names ``where``, for messages.

    Raises:
        UserError: images are in no class folder, or in folders within class folders.
    """
    _refuse_strays(images.get("", ()), where, sum(map(len, images.values())))
    folders = {tuple(folder.split("/")) for folder in images}
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
    return {folder: folder.partition("/")[0] for folder in images}


def _have_one_inner_folder(folders: set[tuple[str, ...]]) -> bool:
    """Whether all images are in CLASS/NAME with one NAME, and CLASS is not a split, whose classes NAME would be."""
    return (
        all(len(parents) == 2 for parents in folders)
        and len({parents[1] for parents in folders}) == 1
        and not {parents[0].lower() for parents in folders} <= _SPLITS
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


def check_class_folders(root: Path, classes: set[str]) -> None:
    """Refuse class folders without images, which would be missing or shift the numbers of others without a word."""
    with os.scandir(root) as entries:
        inside = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
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


def annotated_classes(root: Path, found: ImageList) -> dict[str, str] | None:
    """Return the class of every image's name by Tiny-ImageNet's val_annotations.txt, None where there is no such file.

    Raises:
        UserError: an image is not in it.
    """
    file = root / _ANNOTATIONS
    if not file.is_file() or not found.images or found.images.keys() - {"", "images"}:
        return None
    found.times[_ANNOTATIONS] = time_of(file.stat())
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    by_name = {row[0]: row[1] for row in rows if len(row) > 1}
    paths = [below(folder, name) for folder, names in found.images.items() for name in names]
    unknown = [path for path in paths if path.rpartition("/")[2] not in by_name]
    if unknown:
        raise UserError(
            f"{printable(file)} gives no class for {printable(unknown[0])}{_more(unknown)}",
            "complete it, or remove the image",
            key="data.dir",
            on_every_rank=True,
        )
    return by_name


def is_hidden(name: str) -> bool:
    """Return whether a folder or file is not meant to be looked at."""
    return name.startswith(".") or name in _OF_THE_SYSTEM


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
