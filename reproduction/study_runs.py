"""Finished runs of the studies, as ``reproduce.py collect`` left them in the folders of results/studies."""

import csv
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from dcls.errors import UserError
from reproduction.results import RESULTS
from reproduction.studies import TABLE
from training.metrics import counted_weights

RUNS_FILE = f"{TABLE}-runs.csv"


@dataclass
class StudyRun:
    """A finished run.

    Attributes:
        collection: The folder of results/studies that it was read from.
        epochs: Column of metrics.csv -> value, epoch by epoch.
        changed_keys: Keys of the recipe that had other values than the row has.
    """

    collection: str
    epochs: list[dict[str, float]] = field(default_factory=list)
    changed_keys: list[str] = field(default_factory=list)

    @property
    def top1(self) -> float:
        """Accuracy after the last epoch in %, of the averaged weights where the run has them."""
        last = self.epochs[-1]
        return last[f"{counted_weights(last)}_top1"]

    @property
    def images_per_second(self) -> float:
        """Of the median epoch."""
        return statistics.median(epoch["train_images_per_second"] for epoch in self.epochs)


Runs = dict[str, dict[int, StudyRun]]
"""Name of a row -> seed -> run."""


def read_runs(results: Path = RESULTS) -> Runs:
    """Read all folders of results/studies; runs of different machines or times are in different ones.

    Raises:
        UserError: a run is in two folders.
    """
    found, origins = Runs(), dict[tuple[str, int], Path]()
    for file in sorted((results / TABLE).glob(f"*/{RUNS_FILE}")):
        for row, runs in read_collection(file).items():
            for seed, run in runs.items():
                first = origins.setdefault((row, seed), file.parent)
                if first != file.parent:
                    raise UserError(
                        f"{row} with seed {seed} is in both {first} and {file.parent}", "remove one of them"
                    )
                found.setdefault(row, {})[seed] = run
    return found


def read_collection(file: Path) -> Runs:
    """Read the runs of one folder.

    Raises:
        UserError: the file holds no run, or is damaged.
    """
    found = Runs()
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            for line in csv.DictReader(lines):
                row, seed, changed = line.pop("row"), int(line.pop("seed")), line.pop("changed_keys", "")
                fresh = StudyRun(file.parent.name, changed_keys=changed.split())
                run = found.setdefault(row, {}).setdefault(seed, fresh)
                run.epochs.append({key: float(value) for key, value in line.items() if value})
                if not math.isfinite(run.top1) or not math.isfinite(run.images_per_second):
                    raise ValueError(f"a number of {row} is not finite")
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f"{file} is damaged: {error!r}", "collect its runs again") from None
    if not found:
        raise UserError(f"{file} holds no run", "collect its runs again, or remove its folder")
    return found
