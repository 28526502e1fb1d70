"""Paths and labels of very many images, without a Python object for each of them."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np


class ImageTable(Sequence[tuple[str, Any]]):
    """A list of (path, label) in three arrays.

    A loader process that reads an entry of a Python list writes to the entry's reference count, and so gets a copy of
    the memory around it: in an epoch, of all of it. Nothing writes to an array that is read.

    Args:
        root: Folder of all paths.
        paths: Bytes of the paths relative to it, each with a zero byte at its end; from ``joined``.
        labels: (N,) or (N, L) integers.
    """

    def __init__(self, root: str, paths: np.ndarray, labels: np.ndarray) -> None:
        ends = np.flatnonzero(paths == 0)
        assert len(ends) == len(labels)
        self.root = root
        self.paths = paths
        self.labels = labels
        self._ends = ends.astype(np.uint32 if len(paths) < 2**32 else np.uint64)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> tuple[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        return f"{self.root}/{self.path(index)}", self.labels[index].tolist()

    def path(self, index: int) -> str:
        """Return the path relative to the root."""
        place = range(len(self))[index]
        start = int(self._ends[place - 1]) + 1 if place else 0
        return os.fsdecode(self.paths[start : int(self._ends[place])].tobytes())

    def with_labels(self, labels: np.ndarray) -> "ImageTable":
        """Return the same images with other labels."""
        return ImageTable(self.root, self.paths, labels)


def joined(folders: Iterable[tuple[str, Sequence[str]]]) -> np.ndarray:
    """Return the paths of an ``ImageTable``.

    Args:
        folders: Pairs of a folder, which is empty for the root, and names of images in it.
    """
    return np.frombuffer(b"".join(_paths_in(folder, names) for folder, names in folders), np.uint8)


def _paths_in(folder: str, names: Sequence[str]) -> bytes:
    prefix = f"{folder}/" if folder else ""
    return os.fsencode("".join([prefix, f"\0{prefix}".join(names), "\0"])) if names else b""
