"""Indexes of large splits, kept between runs: a folder of a million images takes seconds to list."""

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dcls.errors import UserError
from training.atomic_io import write_atomic
from training.data.image_files import SUFFIXES, time_of
from training.data.image_index import ImageIndex

_FORMAT = 1  # rises when an index holds something else, or the rules of image_files.py and archive_files.py change
_FEWEST_IMAGES = 20_000  # fewer are listed in no time
_MOST_FILES = 16
_NEWEST_SECONDS = 2.0  # the coarsest times of file systems


def cached_index(root: Path, kind: str, build: Callable[[], ImageIndex]) -> ImageIndex:
    """Return the index of a split from the cache, or build it and keep it there.

    It is kept in $XDG_CACHE_HOME/dcls, by default ~/.cache/dcls, and used as long as no folder of the split has
    changed, by its inode, size and time of change. A cache that cannot be read or written costs time, and nothing else.

    Args:
        root: The split's folder.
        kind: What else the index depends on.
        build: Lists the folder.

    Raises:
        UserError: as ``build``.
    """
    file = _file_of(root, kind)
    index = _load(file) if file is not None else None
    if index is not None and _is_unchanged(root, index):
        return index
    started = time.time_ns()
    index = build()
    if file is not None and len(index.labels) >= _FEWEST_IMAGES and _was_settled(index, started):
        _save(file, index)
    return index


def _file_of(root: Path, kind: str) -> Path | None:
    """Return the file of an index, None where there is no home or no such split.

    The inode keeps apart what is under one path on several machines with one home.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcls"
        key = json.dumps([_FORMAT, kind, sorted(SUFFIXES), os.path.realpath(root), root.stat().st_ino])
    except (OSError, RuntimeError):
        return None
    return folder / f"images-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _is_unchanged(root: Path, index: ImageIndex) -> bool:
    try:
        return all(time_of(os.stat(root / path)) == before for path, before in index.times.items())
    except OSError:
        return False


def _was_settled(index: ImageIndex, started: int) -> bool:
    """Whether all changes were long enough ago for a later one to have another time."""
    return max(changed for *_, changed in index.times.values()) < started - _NEWEST_SECONDS * 1e9


def _load(file: Path) -> ImageIndex | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    _mark_used(file)
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        return None
    with np.load(io.BytesIO(content)) as file_of_arrays:
        arrays = dict(file_of_arrays)
    return ImageIndex(**json.loads(arrays.pop("texts").tobytes()), **arrays)


def _save(file: Path, index: ImageIndex) -> None:
    values = vars(index)
    arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    texts = json.dumps({name: value for name, value in values.items() if name not in arrays})
    buffer = io.BytesIO()
    np.savez(buffer, texts=np.frombuffer(texts.encode(), np.uint8), **arrays)
    content = buffer.getbuffer()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, lambda opened: (opened.write(hashlib.sha256(content).digest()), opened.write(content)))
        _mark_used(file)
        _remove_oldest(file.parent)
    except (OSError, UserError):
        return  # the next run lists the folder again


def _mark_used(file: Path) -> None:
    """Give a file the time of its latest use by the precise clock; that of file systems counts in milliseconds."""
    now = time.time_ns()
    with contextlib.suppress(OSError):  # of a cache that is only to be read
        os.utime(file, ns=(now, now))


def _remove_oldest(folder: Path) -> None:
    files = sorted(folder.glob("images-*"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MOST_FILES]:
        file.unlink(missing_ok=True)
