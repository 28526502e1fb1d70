"""Where the elements of a run's kernels were after each epoch: ``positions/epoch_NNNN.npz`` in the run's folder."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dcls.diagnostics import spreads
from dcls.errors import UserError
from dcls.optim import position_owners
from training.atomic_io import write_atomic
from training.state import TrainState

FOLDER = "positions"
MOST_FILES = 100
"""About as many epochs of a run are kept: 30 MB for a ConvNeXt-T with 26 elements a kernel."""
_LARGEST_HALF = 32.0
"""Up to there float16 is exact to 1/128 pixel, and float32 is used beyond: for kernels of more than 64 pixels."""

Elements = dict[str, tuple[np.ndarray, np.ndarray | None]]
"""Name of a layer or set -> its positions and spreads, (axes, out, in / groups, count) each, in pixels; the spreads
are None where none are learned."""


class PositionHistory:
    """Keep positions and spreads of a run's model: as it begins, after every n-th epoch, and after the last one.

    A model without DCLS layers leaves nothing.

    Args:
        folder: The run's folder.
        epochs: Length of the run; from more than ``MOST_FILES`` on, not every epoch is kept.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self._folder, self._epochs = folder / FOLDER, epochs
        self._interval = -(-epochs // MOST_FILES)

    def begin(self, state: TrainState) -> None:
        """Remove what a run that was cut off had written later than this, and keep the positions that it begins with.

        Raises:
            UserError: the folder cannot be written.
        """
        files = history_files(self._folder)
        for epoch, path in files:
            if epoch > state.epoch:
                with _refusals_told(self._folder):
                    path.unlink()
        is_first = all(epoch > state.epoch for epoch, _ in files)
        if state.progress is None and (is_first or self._is_due(state.epoch)):
            self._write(state)

    def epoch(self, state: TrainState) -> None:
        """Keep the positions after an epoch, if it is one of those that are kept.

        Raises:
            UserError: the disk is full or refuses.
        """
        if self._is_due(state.epoch):
            self._write(state)

    def _is_due(self, epoch: int) -> bool:
        return epoch % self._interval == 0 or epoch == self._epochs

    def _write(self, state: TrainState) -> None:
        arrays = _arrays(state.model)
        if not arrays:
            return
        with _refusals_told(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"epoch_{state.epoch:04d}.npz"
        write_atomic(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def load_history(run: str | Path) -> list[tuple[int, Elements]]:
    """Read where the elements of a run's kernels were, by epochs completed; 0 is before training.

    Files that are damaged are left out, which a line on stderr says. A run without DCLS layers has none.

    Args:
        run: Its folder.
    """
    history, damaged = [], []
    for epoch, path in history_files(Path(run) / FOLDER):
        try:
            history.append((epoch, _read(path)))
        except Exception:  # numpy, zipfile and zlib raise whatever the damaged byte leads them to
            damaged.append(path.name)
    if damaged:
        print(f"warning: left out what is damaged in {Path(run) / FOLDER}: {', '.join(damaged)}", file=sys.stderr)
    return history


def first_elements(run: str | Path) -> tuple[int, Elements] | None:
    """Read the first file of a run's history that is not damaged: its epoch and elements, if there is one."""
    for epoch, path in history_files(Path(run) / FOLDER):
        with suppress(Exception):  # as above
            return epoch, _read(path)
    return None


def history_files(folder: Path) -> list[tuple[int, Path]]:
    """Return the files of a history, by epochs completed."""
    numbered = [(path.stem.removeprefix("epoch_"), path) for path in folder.glob("epoch_*.npz")]
    return sorted((int(number), path) for number, path in numbered if number.isdecimal())


@torch.no_grad()
def current_elements(model: nn.Module) -> Elements:
    """Return the positions and spreads of a model, by the name of the layer or set that holds them."""
    return {
        name: (_compact(owner.positions), None if (spread := spreads(owner)) is None else _compact(spread))
        for name, owner in position_owners(model).items()
    }


@contextmanager
def _refusals_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error}", key="checkpoint.dir") from error


def _arrays(model: nn.Module) -> dict[str, np.ndarray]:
    arrays = {}
    for name, (positions, spread) in current_elements(model).items():
        arrays[f"{name}.positions"] = positions
        if spread is not None:
            arrays[f"{name}.spreads"] = spread
    return arrays


def _compact(values: Tensor) -> np.ndarray:
    values = values.detach().float().cpu()
    dtype = torch.float16 if bool(values.abs().max() < _LARGEST_HALF) else torch.float32
    return values.to(dtype, copy=True).numpy()  # numpy() alone would follow the layer as it trains


def _read(path: Path) -> Elements:
    """Read one file.

    Raises:
        Exception: of any kind, it is damaged.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    elements: Elements = {}
    for key, positions in arrays.items():
        name, _, kind = key.rpartition(".")
        if kind == "positions":
            spread = arrays.get(f"{name}.spreads")
            _check(positions, spread)
            elements[name] = positions, spread
    if not elements:
        raise ValueError("it holds no positions")
    return elements


def _check(positions: np.ndarray, spread: np.ndarray | None) -> None:
    """Refuse what no layer can have.

    Raises:
        ValueError: it is no such array.
    """
    if positions.ndim < 4 or positions.dtype.kind != "f" or (spread is not None and spread.shape != positions.shape):
        raise ValueError(f"positions of shape {positions.shape} and type {positions.dtype}")
