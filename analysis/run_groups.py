"""Runs that differ in their seed only belong together: one curve with a band."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.run_data import RunData

_NOT_COMPARED = {
    "checkpoint.*", "logging.*", "data.num_workers", "training.device", "training.timeout_minutes",
}  # fmt: skip
"""Where a run was trained and what it kept. What changes its speed or its rounding, such as training.precision, makes
another curve, though ``reproduce.py collect`` counts both as the same row."""


@dataclass(frozen=True)
class RunGroup:
    """Runs with one configuration.

    Attributes:
        name: What they are called on the page.
        runs: At least one.
    """

    name: str
    runs: list[RunData]

    def first_with(self, attribute: str) -> RunData | None:
        """Return the run to show where there is room for only one: the first that has, say, positions or weights."""
        return next((run for run in self.runs if getattr(run, attribute)), None)

    @property
    def columns(self) -> set[str]:
        """Every column that the metrics of some run have."""
        return {column for run in self.runs for row in run.history for column in row}

    def curve(self, column: str) -> "Curve":
        """Return one column of the metrics over the epochs that have it, by the number of epochs completed."""
        values: dict[int, list[float]] = {}
        for run in self.runs:
            for row in run.history:
                if column in row:
                    values.setdefault(int(row["epoch"]) + 1, []).append(row[column])
        return Curve(dict(sorted(values.items())))


@dataclass(frozen=True)
class Curve:
    """The values of all runs of a group, by the number of epochs completed."""

    values: dict[int, list[float]]

    @property
    def epochs(self) -> list[int]:
        """In ascending order."""
        return list(self.values)

    @property
    def means(self) -> list[float]:
        """Over the runs that have reached the epoch."""
        return [sum(at) / len(at) for at in self.values.values()]

    @property
    def lowest(self) -> list[float]:
        """Of all runs."""
        return [min(at) for at in self.values.values()]

    @property
    def highest(self) -> list[float]:
        """Of all runs."""
        return [max(at) for at in self.values.values()]


def group_runs(runs: Sequence[RunData]) -> list[RunGroup]:
    """Gather runs with the same configuration except for the seed, in the order in which they come."""
    found: dict[str, list[RunData]] = {}
    for run in runs:
        found.setdefault(_recipe(run), []).append(run)
    names = [_name(members) for members in found.values()]
    return [
        RunGroup(name if names.count(name) == 1 else f"{members[0].name} and {len(members) - 1} more", members)
        for name, members in zip(names, found.values(), strict=True)
    ]


def _recipe(run: RunData) -> str:
    """Return all that runs of a group have in common; a run without a configuration is alone."""
    if not run.config:
        return str(run.folder.resolve())
    kept = {
        f"{section}.{key}": value
        for section, keys in run.config.items()
        for key, value in keys.items()
        if not _NOT_COMPARED & {f"{section}.*", f"{section}.{key}"} and f"{section}.{key}" != "training.seed"
    }
    if "data.dir" in kept:  # machines have their data in different places, of which the last name says what it is
        kept["data.dir"] = Path(str(kept["data.dir"])).name
    return json.dumps(kept, sort_keys=True, default=str)


def _name(runs: list[RunData]) -> str:
    if len(runs) == 1:
        return runs[0].name
    without_seed = {re.sub(r"[-_. ]*seed[-_. ]*\d+$", "", run.name) for run in runs}
    name = without_seed.pop() if len(without_seed) == 1 else runs[0].name
    return f"{name or runs[0].name} ({len(runs)} runs)"
