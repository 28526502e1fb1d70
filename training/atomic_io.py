"""Writing files whole or not at all."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dcls.errors import UserError


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file once its new content is complete on disk.

    Args:
        write: Writes the content to the file it is given.

    Raises:
        UserError: the disk is full or refuses; the file that was there is unharmed.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        fsync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        kept = "the one written before is kept. " if path.exists() else ""
        raise UserError(f"cannot write {path}: {error}", f"{kept}Is the disk full?") from error


def fsync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk: without it a power cut could undo what was renamed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomic(path: Path, text: str) -> None:
    """As ``write_atomic``, for text."""
    write_atomic(path, lambda file: file.write(text.encode()))
