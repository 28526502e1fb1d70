"""timm's readers of folders and archives, with our classes and without a Python object for each image."""

import io
import os
from functools import partial
from pathlib import Path
from typing import Any

from timm.data.readers.reader import Reader
from timm.data.readers.reader_image_folder import ReaderImageFolder

from training.data.archive_files import index_archive
from training.data.image_files import check_folder, printable
from training.data.image_index import Order, index_folder
from training.data.image_table import ImageTable
from training.data.index_cache import cached_index
from training.data.natural_order import by_number_and_name


class FolderReader(ReaderImageFolder):
    """timm's reader of a folder, with the classes of ``image_files.class_of_each``.

    Args:
        root: The split's folder.
        split_key: The key that names it, for messages.
        order: Sorts the classes; images go by class and name with ``str``, as torchvision has them.

    Raises:
        UserError: it is missing or empty, or the class of an image is not clear.
    """

    def __init__(self, root: Path, split_key: str = "data.dir", order: Order = by_number_and_name) -> None:
        check_folder(root)
        index = cached_index(root, order.__name__, partial(index_folder, root, split_key, order))
        self.root = str(root)
        self.notes = [f"{printable(root)}: {note}" for note in index.notes]
        self.class_to_idx = {name: number for number, name in enumerate(index.classes)}
        self.samples = ImageTable(self.root, index.paths, index.labels)


class ArchiveReader(Reader):
    """A reader of a tar archive, with the classes of ``image_files.class_of_each``.

    Args:
        root: The archive.
        split_key: The key that names it, for messages.

    Raises:
        UserError: the class of an image is not clear.
    """

    def __init__(self, root: Path, split_key: str = "data.dir") -> None:
        super().__init__()
        index = cached_index(root, "archive", partial(index_archive, root, split_key))
        assert index.spans is not None
        self.root = str(root)
        self.notes = [f"{printable(root)}: {note}" for note in index.notes]
        self.class_to_idx = {name: number for number, name in enumerate(index.classes)}
        self.samples = ImageTable(self.root, index.paths, index.labels)
        self._spans = index.spans
        self._file: int | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, Any]:
        if self._file is None:
            self._file = os.open(self.root, os.O_RDONLY)
        offset, size = self._spans[index].tolist()
        # Without a seek: processes that were forked share the position in an open file.
        return io.BytesIO(os.pread(self._file, size, offset)), self.samples[index][1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        name = self.samples.path(index)
        return f"{self.root}: {name}" if absolute else os.path.basename(name) if basename else name
