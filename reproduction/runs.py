"""Runs of rows: one for each seed, each in a folder of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcls.errors import UserError
from reproduction.row import Row
from training.checkpoints.resume import differences
from training.run_folder import CONFIG, WEIGHTS

# Where and how fast; the rest is the recipe.
_OF_THE_MACHINE = {
    "data.dir", "data.dataset", "data.download", "data.train_split", "data.val_split", "data.num_workers",
    "data.val_batch_size", "training.seed", "training.micro_batch_size", "training.precision",
    "training.channels_last", "training.compile", "training.gradient_checkpointing", "training.deterministic",
    "training.device",
}  # fmt: skip
_OF_THE_RUN = {"training.seed", "checkpoint.dir", "checkpoint.name", "checkpoint.resume"}


@dataclass(frozen=True)
class RowRun:
    """A row trained with one seed.

    Attributes:
        root: Folder of all runs.
    """

    row: Row
    seed: int
    root: Path

    @property
    def name(self) -> str:
        """The run's own name, under which Weights & Biases shows it, too."""
        return f"{self.row.name}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """RUNS/TABLE/ROW-seedN."""
        return self.root / self.row.table / self.name

    @property
    def is_finished(self) -> bool:
        """Whether it has been trained to its end."""
        return (self.folder / WEIGHTS).is_file()

    def trained_config(self) -> dict[str, Any]:
        """Read what the run was trained with, by section and key."""
        config: dict[str, Any] = yaml.safe_load((self.folder / CONFIG).read_text(encoding="utf-8"))
        return config

    def changed_keys(self, trained: dict[str, Any]) -> list[str]:
        """Return the keys of the recipe whose values differ between the row and what a run was trained with."""
        return [key for key in differences(trained, self.row.config) if key not in _OF_THE_MACHINE]

    def arguments(self, overrides: Sequence[str] = ()) -> list[str]:
        """Return the arguments of train.py that begin the run, or continue it where it stopped."""
        return [
            f"--config={self.row.config_file}",
            *self.row.overrides,
            f"training.seed={self.seed}",
            f"checkpoint.dir={self.folder.parent}",
            f"checkpoint.name={self.name}",
            "checkpoint.resume=auto",
            f"logging.wandb_group={self.row.name}",
            *overrides,
        ]


def check_overrides(overrides: Iterable[str]) -> None:
    """Refuse those that would make the runs of a launch one run.

    Raises:
        UserError: a launch gives this key each run's own value.
    """
    for override in overrides:
        if (key := override.partition("=")[0]) in _OF_THE_RUN:
            raise UserError(f"every run sets its own {key}", "use --seeds and --runs instead", key="--set")


def recipe_note(changed_keys: Iterable[Sequence[str]]) -> str:
    """Say which keys some runs were trained with other values of; nothing where there is none."""
    names = sorted({key for keys in changed_keys for key in keys})
    return f" (with another {', '.join(names)})" if names else ""


def plan_runs(rows: Iterable[Row], seeds: Iterable[int], root: Path) -> list[RowRun]:
    """Return a run for every row and seed, all rows of a seed first, so that early results can be compared."""
    rows = list(rows)
    return [RowRun(row, seed, root) for seed in dict.fromkeys(seeds) for row in rows]
