"""What the folder of a run holds, finished or not; what is damaged is noted, and the rest is read."""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from torch import nn

from dcls.checkpoints.description import ModelDescription
from dcls.errors import UserError
from models.loading import load_model
from training.config import ScheduleConfig
from training.config_file import INVALID_YAML
from training.metrics import iterate_metrics
from training.position_history import FOLDER as POSITIONS
from training.position_history import Elements, history_files, load_history
from training.run_folder import BEST, CONFIG, ENVIRONMENT, LAST, METRICS, WEIGHTS, saved_states

Content = TypeVar("Content")


@dataclass(frozen=True)
class RunData:
    """One run.

    Attributes:
        name: What tells it from the other runs of the page.
        history: A row of numbers for each finished epoch, as in metrics.csv.
        config: Its configuration by section and key, {} where it cannot be read.
        environment: Versions, hardware and size of the model, {} where they cannot be read.
        weights: The file that the model's weights are from; None where none can be read.
        description: What that file says about its model.
        positions: Where the elements were, by epochs completed.
        notes: What is missing or damaged, a sentence each.
    """

    folder: Path
    name: str
    history: list[dict[str, float]] = field(default_factory=list)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    description: ModelDescription | None = None
    positions: list[tuple[int, Elements]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        """Whether it was trained to its end."""
        return (self.folder / WEIGHTS).is_file()

    def load_model(self) -> nn.Module | None:
        """Load the model in eval mode, or return None without weights. Not cached: twenty models could fill memory.

        Raises:
            UserError: the file of weights has become unreadable.
        """
        return load_model(self.weights)[0] if self.weights else None

    def setting(self, key: str) -> Any:
        """Return the value of a key of its configuration, such as training.seed; None where it has none."""
        section, _, name = key.partition(".")
        return self.config.get(section, {}).get(name)


def read_runs(folders: Sequence[Path]) -> list[RunData]:
    """Read runs in the order given; one that is named twice is read once.

    Args:
        folders: From ``runs_in``.
    """
    different = list({folder.resolve(): folder for folder in folders}.values())
    return [read_run(folder, name) for folder, name in zip(different, _names(different), strict=True)]


def read_run(folder: Path, name: str) -> RunData:
    """Read one run; what cannot be read is left out, with a note."""
    assert _holds_run(folder)
    notes: list[str] = []
    weights, description = _find_weights(folder, notes)
    history = _read(folder / METRICS, partial(_read_history, notes=notes), None, notes)
    run = RunData(
        folder,
        name,
        history or [],
        _read(folder / CONFIG, _read_config, {}, notes),
        _read(folder / ENVIRONMENT, _read_environment, {}, notes),
        weights,
        description,
        load_history(folder),
        notes,
    )
    kept = len(history_files(folder / POSITIONS))
    if len(run.positions) < kept:
        notes.append(f"{kept - len(run.positions)} of {kept} files in {POSITIONS} are damaged and left out.")
    if not run.is_finished:
        count = len(run.history)
        notes.append(f"The run is not finished: {count} {'epoch is' if count == 1 else 'epochs are'} complete.")
    elif history is not None and len(history) < (length := _length(run)):
        notes.append(f"{METRICS} has {len(history)} of the run's {length} epochs.")
    return run


def _length(run: RunData) -> int:
    """Return the epochs of a finished run, or 0 where its configuration does not say."""
    try:
        return ScheduleConfig(**run.config["schedule"]).total_epochs
    except (KeyError, ValueError):
        return 0


def runs_in(folder: Path) -> list[Path]:
    """Return the folder of a run, or those of the runs in a folder of several.

    Raises:
        UserError: there is none, or the folder cannot be read.
    """
    if folder.is_dir() and not _is_readable(folder):
        raise UserError(f"{folder} cannot be read", "ask its owner for the right to read it")
    if _holds_run(folder):
        return [folder]
    folders = sorted(folder.glob("*/"))
    unreadable = [path for path in folders if not _is_readable(path)]
    for path in unreadable:
        print(f"warning: left out {path}, which cannot be read", file=sys.stderr)
    found = [path for path in folders if path not in unreadable and _holds_run(path)]
    if not found:
        raise UserError(
            f"{folder} holds no run: neither {METRICS} nor {CONFIG} is there",
            "name the folder of a run, such as output/quickstart",
        )
    return found


def _is_readable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _holds_run(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (METRICS, CONFIG, LAST, WEIGHTS))


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that differ."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = [_printable("/".join(part[-depth:])) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _printable(name: str) -> str:
    """Replace what is no UTF-8 in a name of the file system."""
    return os.fsencode(name).decode(errors="replace")


def _read(file: Path, reader: Callable[[Path], Content], default: Content, notes: list[str]) -> Content:
    """Read a file of a run; where that fails, say why and return the default."""
    if not file.is_file():
        notes.append(f"{file.name} is missing.")
        return default
    try:
        return reader(file)
    except (OSError, *INVALID_YAML) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        notes.append(f"{file.name} is damaged and left out: {reason:.200}")
        return default


def _read_history(file: Path, notes: list[str]) -> list[dict[str, float]]:
    """Read the rows before the first that is damaged, if there is one."""
    found: list[dict[str, float]] = []
    try:
        for row in iterate_metrics(file):
            if not math.isfinite(row.get("epoch", math.nan)):
                raise ValueError("a line does not say its epoch")
            found.append(row)
    except ValueError as error:
        if not found:
            raise
        notes.append(f"{file.name} is damaged; it is read as far as line {len(found) + 1}: {error!s:.200}")
    return found


def _read_config(file: Path) -> dict[str, dict[str, Any]]:
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not all(_is_section(*item) for item in config.items()):
        raise ValueError("it has no sections")
    json.dumps(config, sort_keys=True, default=str)  # or runs could not be compared: keys of two kinds, a circle
    return config


def _is_section(name: Any, keys: Any) -> bool:
    return isinstance(name, str) and isinstance(keys, dict) and all(isinstance(key, str) for key in keys)


def _read_environment(file: Path) -> dict[str, Any]:
    environment = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(environment, dict):
        raise ValueError("it has no keys")
    return environment


def _find_weights(folder: Path, notes: list[str]) -> tuple[Path | None, ModelDescription | None]:
    """Return the file of the final weights or, of a run that is not finished, the newest one that loads."""
    candidates = (folder / WEIGHTS, folder / LAST, *saved_states(folder), folder / BEST)
    for file in (candidate for candidate in candidates if candidate.is_file()):
        try:
            return file, load_model(file)[1]
        except UserError as error:
            notes.append(f"{file.name} is left out: {error}")
    notes.append("There are no weights, so kernels and receptive field are not shown.")
    return None, None
