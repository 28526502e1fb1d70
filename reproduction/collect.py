"""From the folders of finished runs to one table for each group of rows."""

import csv
import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dcls.errors import UserError
from evaluation.markdown import csv_table, markdown_table
from reproduction.comparison import Comparison, compare_by_seed, mean_and_deviation
from reproduction.movement import movement_by_epoch
from reproduction.row import Row
from reproduction.runs import RowRun, recipe_note
from training.config import ScheduleConfig
from training.metrics import counted_weights, read_metrics
from training.run_folder import ENVIRONMENT, METRICS


@dataclass(frozen=True)
class Result:
    """What a finished run reached after its last epoch, of the averaged weights where it has them.

    Attributes:
        place: With what, where and when it was trained.
    """

    seed: int
    top1: float
    top5: float
    train_loss: float
    images_per_second: float
    parameters: int
    multiply_adds: int | None
    history: list[dict[str, float]]
    place: str
    changed_keys: list[str]


@dataclass(frozen=True)
class RowResult:
    """A row, its finished runs by their seeds, and how many are not finished."""

    row: Row
    results: dict[int, Result]
    unfinished: int

    @property
    def is_begun(self) -> bool:
        """Whether the row has any run."""
        return bool(self.results or self.unfinished)

    def values(self, key: str) -> list[Any]:
        """Return one figure of every finished run."""
        return [getattr(result, key) for result in self.results.values()]


@dataclass(frozen=True)
class Table:
    """All rows of one table."""

    name: str
    rows: list[RowResult]

    def comparison(self, row: RowResult) -> Comparison:
        """Compare the row with its baseline, by seeds that both have."""
        baseline = next((other for other in self.rows if other.row.name == row.row.facts.baseline), None)
        theirs = {} if baseline is None else baseline.results
        return compare_by_seed(row.results, theirs, flips_signs=row.row.facts.bimodal)

    def comparisons_by_variant(self) -> dict[str, Comparison]:
        """Every variant against its baselines, one pair for each setting, whose seeds are not independent."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            difference = self.comparison(row).mean
            if difference is not None:
                found.setdefault(row.row.variant, []).append(difference)
        return {variant: Comparison(differences) for variant, differences in found.items()}

    def cells(self) -> list[dict[str, str]]:
        """Return the table's lines, column -> text."""
        return [self._line(row) for row in self.rows]

    def markdown(self) -> str:
        """Return the table as Markdown, with the comparison of variants, versions and hardware."""
        parts = [f"# {self.name}", markdown_table(self.cells())]
        pooled = {variant: c for variant, c in self.comparisons_by_variant().items() if len(c.differences) > 1}
        if pooled and not any(row.row.studies for row in self.rows):  # a study's settings are answers of their own
            lines = [
                {"variant": v, "settings": str(len(c.differences)), "top-1 over their baselines": str(c)}
                for v, c in pooled.items()
            ]
            parts.append(markdown_table(lines))
        parts.append(self._provenance())
        return "\n\n".join(part for part in parts if part) + "\n"

    def csv(self) -> str:
        """Return the same as plain numbers, for programs."""
        return csv_table([self._numbers(row) for row in self.rows])

    def runs_csv(self) -> str:
        """Return every epoch of every finished run."""
        return csv_table(
            [
                {"row": row.row.name, "seed": result.seed, "changed_keys": " ".join(result.changed_keys), **epoch}
                for row in self.rows
                for result in row.results.values()
                for epoch in result.history
            ]
        )

    def write(self, folder: Path) -> None:
        """Write TABLE.md, TABLE.csv and TABLE-runs.csv.

        Raises:
            UserError: no run is finished, or the folder holds runs that this table does not.
        """
        runs_file = folder / f"{self.name}-runs.csv"
        self._check_nothing_is_lost(runs_file)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")
        (folder / f"{self.name}.csv").write_text(self.csv(), encoding="utf-8")
        runs_file.write_text(self.runs_csv(), encoding="utf-8")

    def _check_nothing_is_lost(self, runs_file: Path) -> None:
        runs = {(row.row.name, str(seed)) for row in self.rows for seed in row.results}
        if not runs:
            raise UserError(f"no run of {self.name} is finished, so there is nothing to write")
        if not runs_file.is_file():
            return
        with runs_file.open(newline="", encoding="utf-8") as lines:
            kept = {(line["row"], line["seed"]) for line in csv.DictReader(lines)}
        if lost := sorted(kept - runs):
            named = ", ".join(f"{row} with seed {seed}" for row, seed in lost[:3])
            more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
            raise UserError(
                f"{runs_file} holds runs that are not collected now: {named}{more}",
                "collect them together, choose another --out or rename the folder of runs",
            )

    def _line(self, row: RowResult) -> dict[str, str]:
        facts = row.row.facts
        seeds = ", ".join(map(str, sorted(row.results))) or "missing"
        if row.unfinished:
            seeds += f" ({row.unfinished} not finished)"
        seeds += recipe_note(row.values("changed_keys"))
        parameters = row.values("parameters")[0] if row.results else facts.parameters
        multiply_adds = row.values("multiply_adds")[0] if row.results else None
        line = {
            "row": row.row.title,
            "parameters": f"{parameters:,}",
            "multiply-adds": f"{multiply_adds / 1e9:.4g} G" if multiply_adds else "-",
            "seeds": seeds,
            "train loss": mean_and_deviation(row.values("train_loss"), ".3f"),
            "top-1": mean_and_deviation(row.values("top1"), ".2f"),
            "top-5": mean_and_deviation(row.values("top5"), ".2f"),
            "images/s": f"{statistics.median(row.values('images_per_second')):.0f}" if row.results else "-",
            "top-1 over baseline": str(self.comparison(row)),
        }
        if any(other.row.facts.source for other in self.rows):
            line |= {"published top-1": row.row.published_top1, "source": facts.source or "n/a"}
        return line

    def _numbers(self, row: RowResult) -> dict[str, Any]:
        facts, difference = row.row.facts, self.comparison(row)
        numbers = {
            "row": row.row.name,
            "parameters": row.values("parameters")[0] if row.results else facts.parameters,
            "multiply_adds": row.values("multiply_adds")[0] if row.results else None,
            "runs": len(row.results),
            "unfinished": row.unfinished,
        }
        for key in ("train_loss", "top1", "top5", "images_per_second"):
            values = row.values(key)
            numbers |= {
                f"{key}_mean": statistics.mean(values) if values else None,
                f"{key}_deviation": statistics.stdev(values) if len(values) > 1 else None,
            }
        return numbers | {
            "pairs": len(difference.differences),
            "over_baseline_mean": difference.mean,
            "over_baseline_deviation": difference.deviation,
            "p_value": difference.p_value,
            "published_top1": facts.published_top1,
            "source": facts.source,
        }

    def _provenance(self) -> str:
        places = {place for row in self.rows for place in row.values("place")}
        return "\n".join(f"Trained with: {place}" for place in sorted(places))


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
    for seed in sorted(int(seed) for seed in seeds if seed.isdigit()):
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
