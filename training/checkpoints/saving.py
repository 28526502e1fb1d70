"""When and where a run is saved: in the background, the last few times kept, the newest and the best by name."""

import os
import threading
from pathlib import Path
from typing import Any

from torch import Tensor

from dcls.errors import UserError
from training.atomic_io import fsync_folder
from training.checkpoints.checkpoint import save_checkpoint
from training.run_folder import BEST, LAST, SAVES, WEIGHTS, saved_states

KEPT = 3
"""How many saved states stay beside the best one: the newest may be damaged."""


class CheckpointSaver:
    """Write the states of a run into its folder, ``saves/UPDATES.pt``; last.pt and best.pt are links to them.

    Training waits for the copy alone; the copy is written in the background, and is on disk before anything older is
    removed.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._error: UserError | None = None

    def save(self, content: dict[str, Any], *, is_best: bool = False) -> None:
        """Copy the state of a run and write it in the background, as ``last.pt`` and, if asked to, ``best.pt``.

        Args:
            content: From ``training.checkpoints.snapshot.take``.

        Raises:
            UserError: what was saved before could not be written.
        """
        self.wait()
        copied = _copy(content)
        self._thread = threading.Thread(target=self._write, args=(copied, is_best), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Return when all that was saved is on disk.

        Raises:
            UserError: the disk is full or refuses; what was there before is unharmed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, content: dict[str, Any], is_best: bool) -> None:
        path = self._folder / SAVES / f"{content['updates']:09d}.pt"
        try:
            path.parent.mkdir(exist_ok=True)
            save_checkpoint(path, content)
            (self._folder / WEIGHTS).unlink(missing_ok=True)  # of a finished run that goes on: no longer its outcome
            if is_best:  # first: a run cut off in between repeats the epoch, and finds it the best again
                link(path, self._folder / BEST)
            link(path, self._folder / LAST)
            for old in saved_states(self._folder)[KEPT:]:
                old.unlink(missing_ok=True)
        except UserError as error:
            is_first = not (self._folder / LAST).exists()
            self._error = error if is_first else error.replace(fix="the one written before is kept. Is the disk full?")
        except OSError as error:
            self._error = UserError(f"cannot write {path}: {error}")


def link(file: Path, name: Path) -> None:
    """Give a file a second name, in place of what had it; where the disk has no links it is copied.

    Raises:
        OSError: the disk refuses.
    """
    partial = name.with_name(name.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(file, partial)
    except OSError:
        partial.write_bytes(file.read_bytes())
    os.replace(partial, name)
    fsync_folder(name.parent)


def _copy(value: Any) -> Any:
    """Copy tensors, wherever they are in dictionaries and lists, to memory that training does not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(item) for item in value)
    return value
