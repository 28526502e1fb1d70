"""Runs of rows: one for each seed, each in a folder of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reproduction.rows import Row
from training.run_folder import WEIGHTS


@dataclass(frozen=True)
class Run:
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

    def arguments(self, overrides: Sequence[str] = ()) -> list[str]:
        """Of train.py: begins the run, or continues it where it stopped."""
        return [
            f"--config={self.row.config_file}",
            f"training.seed={self.seed}",
            f"checkpoint.dir={self.folder.parent}",
            f"checkpoint.name={self.name}",
            "checkpoint.resume=auto",
            f"logging.wandb_group={self.row.name}",
            *overrides,
        ]


def plan_runs(rows: Iterable[Row], seeds: Iterable[int], root: Path) -> list[Run]:
    """Every row with every seed; all rows of a seed before the next seed, so that early results can be compared."""
    rows = list(rows)
    return [Run(row, seed, root) for seed in seeds for row in rows]
