"""Shards with an index: tar archives from which any image is read at once, because a file says where each one is.

``scripts/prepare_imagenet.py`` writes both. The order of the index is that of a folder of the same images, so that
training on shards is training on the folder, to the bit. Without an index, WebDataset shards are read one after the
other, by timm's reader.
"""

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timm.data.readers.reader import Reader

from dcls.errors import UserError
from training.atomic_io import write_atomic
from training.data.image_files import printable
from training.data.image_table import ImageTable

_MOST_OPEN_FILES = 256  # a quarter of what most systems allow a process


@dataclass(frozen=True)
class ShardIndex:
    """Where the images of a split are: one entry an image, in the order of a folder of them.

    Attributes:
        shards: (S,) names of the archives, beside the index.
        shard_sizes: (S,) their sizes in bytes.
        classes: (C,) names of the classes in the order of their labels.
        paths: Bytes of the images' names, each with its class (CLASS/NAME), see ``image_table.ImageTable``.
        labels: (N,)
        shard: (N,) which archive an image is in.
        offsets: (N,) where it begins, in bytes.
        sizes: (N,) in bytes.
    """

    shards: np.ndarray
    shard_sizes: np.ndarray
    classes: np.ndarray
    paths: np.ndarray
    labels: np.ndarray
    shard: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def write(self, path: Path) -> None:
        """Write the index, completely or not at all.

        Raises:
            UserError: the disk is full or refuses.
        """
        write_atomic(path, lambda file: np.savez(file, **vars(self)))

    @classmethod
    def read(cls, path: Path) -> "ShardIndex":
        """Read an index.

        Raises:
            UserError: it is damaged.
        """
        try:
            with np.load(path) as arrays:
                return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"cannot read {printable(path)}: {printable(str(error))}",
                "remove it and prepare the shards again, which leaves finished ones as they are",
                key="data.dir",
                on_every_rank=True,
            ) from None


def index_path(folder: str | Path, split: str) -> Path:
    """Return where the index of a split is, if its shards have one."""
    return Path(folder, f"{split}-index.npz")


class ShardReader(Reader):
    """Images of indexed shards by their number, as timm's readers of folders give them.

    Args:
        folder: What holds shards and index.
        split: Name of the split.

    Raises:
        UserError: the index is damaged, or a shard is missing or has another size.
    """

    def __init__(self, folder: Path, split: str) -> None:
        super().__init__()
        self.folder = folder
        self.index = ShardIndex.read(index_path(folder, split))
        self.samples = ImageTable(str(folder), self.index.paths, self.index.labels)
        self.class_to_idx = {str(name): label for label, name in enumerate(self.index.classes)}
        self._open_files: dict[int, int] = {}
        for shard in range(len(self.index.shards)):
            self._check(shard)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, Any]:
        size = int(self.index.sizes[index])
        content = os.pread(self._file(int(self.index.shard[index])), size, int(self.index.offsets[index]))
        if len(content) < size:
            raise OSError("its shard ends before it")
        return io.BytesIO(content), self.samples.labels[index].tolist()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open_files": {}}  # another process opens its own

    def __del__(self) -> None:
        for file in self.__dict__.get("_open_files", {}).values():
            os.close(file)

    def _check(self, shard: int) -> None:
        path, expected = self._path(shard), int(self.index.shard_sizes[shard])
        size = path.stat().st_size if path.is_file() else None
        if size != expected:
            raise UserError(
                f"shard {printable(path)} "
                + ("is missing" if size is None else f"has {size} bytes, its index says {expected}"),
                "copy it again with its index, or prepare the data again",
                key="data.dir",
                on_every_rank=True,
            )

    def _path(self, shard: int) -> Path:
        return self.folder / str(self.index.shards[shard])

    def _file(self, shard: int) -> int:
        """Return an open file, which stays so: on network disks opening costs more than reading."""
        if shard not in self._open_files:
            if len(self._open_files) >= _MOST_OPEN_FILES:
                os.close(self._open_files.pop(next(iter(self._open_files))))
            self._open_files[shard] = os.open(self._path(shard), os.O_RDONLY)
        return self._open_files[shard]

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        name = self.samples.path(index)
        if absolute:
            return f"{self._path(int(self.index.shard[index]))}: {name}"
        return os.path.basename(name) if basename else name
