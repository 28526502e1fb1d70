"""Tables of words and numbers: what was run, on what, how it ended, and where the runs differ."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.exhibit import Cell, NumberTable
from analysis.run_data import RunData
from training.metrics import counted_weights

_PACKAGES = ("torch", "torchvision", "timm")
_NAMES = ("checkpoint.name", "logging.wandb_group")


def outcome_table(runs: Sequence[RunData]) -> NumberTable:
    """List what each run reached, in how long."""
    columns = [
        "run",
        "model",
        "parameters",
        "multiply-adds (G)",
        "seed",
        "epochs",
        "top-1, last epoch (%)",
        "top-1, best epoch (%)",
        "images/s, median",
        "waiting (%)",
        "training time",
    ]
    return NumberTable(columns, [_outcome(run) for run in runs])


def _outcome(run: RunData) -> list[Cell]:
    size = run.environment.get("model")
    size = size if isinstance(size, dict) else {}
    multiply_adds, rows = size.get("multiply_adds"), run.history
    prefix = counted_weights(rows[-1]) if rows else "val"
    top1 = [row[f"{prefix}_top1"] for row in rows if f"{prefix}_top1" in row]
    finite = list(filter(math.isfinite, top1))
    return [
        run.name,
        _word(run.setting("model.name")),
        size.get("parameters") if isinstance(size.get("parameters"), int) else None,
        multiply_adds / 1e9 if isinstance(multiply_adds, int) else None,
        _word(run.setting("training.seed")),
        len(rows) if run.is_finished else f"{len(rows)}, not finished",
        round(top1[-1], 2) if top1 else None,
        round(max(finite), 2) if finite else None,
        _median(run, "train_images_per_second", 0),
        _median(run, "train_waiting", 1, 100.0),
        _duration(run),
    ]


def _median(run: RunData, column: str, digits: int, factor: float = 1.0) -> float | None:
    values = [row[column] * factor for row in run.history if column in row]
    return round(statistics.median(values), digits) if values else None


def _duration(run: RunData) -> str | None:
    """Return the time of training alone, from the number of its images and their rate in each epoch."""
    batch_size = run.setting("training.batch_size")
    seconds, before = 0.0, 0.0
    for row in run.history:
        rate = row.get("train_images_per_second")
        if not rate or not math.isfinite(row.get("updates", math.nan)) or not isinstance(batch_size, int):
            return None
        seconds += (row["updates"] - before) * batch_size / rate
        before = row["updates"]
    if not seconds or not math.isfinite(seconds):
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def machine_table(runs: Sequence[RunData]) -> NumberTable:
    """List on what each run was trained."""
    columns = ["run", "date", "commit", "Python", *_PACKAGES, "hardware", "processes", "system"]
    return NumberTable(columns, [_machine(run) for run in runs if run.environment])


def _machine(run: RunData) -> list[Cell]:
    facts = run.environment
    packages = facts.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    processor = f"{facts.get('cores')} cores of {facts.get('processor')}"
    values = [
        facts.get("date"),
        str(facts.get("commit") or "unknown")[:10],
        facts.get("python"),
        *(packages.get(name) for name in _PACKAGES),
        f"{facts['gpu']}, {processor}" if facts.get("gpu") else processor,
        facts.get("processes"),
        facts.get("system"),
    ]
    return [run.name, *map(_word, values)]


def _word(value: Any) -> str | None:
    """Return what a file says as text, whatever it is; None where it says nothing."""
    return None if value is None else str(value)


def difference_table(runs: Sequence[RunData]) -> NumberTable:
    """List the keys of the configuration in which the runs differ, but for those that only name a run."""
    configured = [run for run in runs if run.config]
    settings = [_by_key(run.config) for run in configured]
    lines: list[list[Cell]] = []
    for key in dict.fromkeys(key for values in settings for key in values):
        values = [setting.get(key) for setting in settings]
        if key not in _NAMES and any(value != values[0] for value in values):
            lines.append([key, *map(_word, values)])
    return NumberTable(["key", *(run.name for run in configured)], lines)


def _by_key(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a configuration by ``section.key``, however deep they are."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= _by_key(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
