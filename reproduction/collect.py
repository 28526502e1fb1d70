"""From the folders of finished runs to one table for each group of rows."""

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dcls.errors import UserError
from reproduction.movement import movement_by_epoch
from reproduction.row import Row
from reproduction.runs import RowRun
from reproduction.table import Result, RowResult, Table
from training.config import ScheduleConfig
from training.metrics import counted_weights, read_metrics
from training.run_folder import ENVIRONMENT, METRICS


def collect(runs: Path, rows: Iterable[Row]) -> list[Table]:
    """Collect the tables of these rows from their finished runs.

    A table without any run is left out, and so are the rows of studies without one, because they are many.

    Raises:
        UserError: there are no runs of these rows, or one of their files cannot be read.
    """
    tables: dict[str, list[RowResult]] = {}
    for row in rows:
        result = collect_row(runs, row)
        if result.is_begun or not row.studies:
            tables.setdefault(row.table, []).append(result)
    found = [Table(name, rows) for name, rows in tables.items() if any(row.is_begun for row in rows)]
    if not found:
        raise UserError(f"{runs} holds no run of these rows", f"expected folders such as {runs}/TABLE/ROW-seed0")
    return found


def collect_row(runs: Path, row: Row) -> RowResult:
    """Find all runs of one row."""
    results, unfinished = {}, 0
    seeds = (folder.name.rpartition("-seed")[2] for folder in (runs / row.table).glob(f"{row.name}-seed*"))
    for seed in sorted(int(seed) for seed in seeds if seed.isdecimal()):
        run = RowRun(row, seed, runs)
        if run.is_finished:
            results[seed] = read_result(run)
        else:
            unfinished += 1
    return RowResult(row, results, unfinished)


def read_result(run: RowRun) -> Result:
    """Read what a finished run's files say.

    Raises:
        UserError: one of them is missing or damaged.
    """
    try:
        movement = movement_by_epoch(run.folder)
        epochs = read_metrics(run.folder / METRICS)
        history = [epoch | movement.get(int(epoch["epoch"]) + 1, {}) for epoch in epochs]
        environment = json.loads((run.folder / ENVIRONMENT).read_text(encoding="utf-8"))
        config = run.trained_config()
        last = history[-1]
        weights = counted_weights(last)
        top1, top5, train_loss = (last[key] for key in (f"{weights}_top1", f"{weights}_top5", "train_loss"))
        _check_run(run, config, len(history), (top1, top5, train_loss))
        return Result(
            seed=run.seed,
            top1=top1,
            top5=top5,
            train_loss=train_loss,
            images_per_second=statistics.median(epoch["train_images_per_second"] for epoch in history),
            parameters=environment["model"]["parameters"],
            multiply_adds=environment["model"].get("multiply_adds"),
            history=history,
            place=_place(environment),
            changed_keys=run.changed_keys(config),
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
        reason = error if isinstance(error, UserError) else repr(error)
        raise UserError(f"{run.folder} cannot be collected: {reason}", "train it again or remove it") from None


def _check_run(run: RowRun, config: dict[str, Any], epochs: int, numbers: Iterable[float]) -> None:
    """Refuse a run whose last line is not its outcome.

    Raises:
        UserError: it is a copy of a run with another seed, metrics.csv has lost its end, or training diverged.
    """
    seed, length = config["training"]["seed"], ScheduleConfig(**config["schedule"]).total_epochs
    if seed != run.seed:
        raise UserError(f"it was trained with seed {seed}")
    if epochs != length:
        raise UserError(f"{METRICS} has {epochs} of {length} epochs")
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"the last line of {METRICS} has a number that is not finite")


def _place(environment: dict[str, Any]) -> str:
    """Say with what, where and when a run was trained."""
    packages, commit = environment["packages"], environment["commit"] or "unknown"
    hardware = environment["gpu"] or f"{environment['cores']} cores of {environment['processor']}"
    return (
        f"commit {commit[:10]}, torch {packages['torch']}, timm {packages['timm']}, Python {environment['python']}, "
        f"{hardware}, {environment['date'][:10]}"
    )
