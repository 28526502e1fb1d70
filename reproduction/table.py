"""What the finished runs of one table reached, as Markdown and as CSV."""

import csv
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcls.errors import UserError
from evaluation.markdown import csv_table, markdown_table
from reproduction.comparison import Comparison, compare_by_seed, mean_and_deviation
from reproduction.row import Row
from reproduction.runs import recipe_note


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

    @property
    def has_results(self) -> bool:
        """Whether any run is finished."""
        return any(row.results for row in self.rows)

    def cells(self) -> list[dict[str, str]]:
        """Return the table's lines, column -> text."""
        return [self._line(row) for row in self.rows]

    def markdown(self) -> str:
        """Return the table as Markdown, with versions and hardware."""
        parts = [f"# {self.name}", markdown_table(self.cells()), self._provenance()]
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
            UserError: the folder holds runs that this table does not, or they cannot be read.
        """
        runs_file = folder / f"{self.name}-runs.csv"
        self._check_nothing_is_lost(runs_file)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")
        (folder / f"{self.name}.csv").write_text(self.csv(), encoding="utf-8")
        runs_file.write_text(self.runs_csv(), encoding="utf-8")

    def _check_nothing_is_lost(self, runs_file: Path) -> None:
        runs = {(row.row.name, str(seed)) for row in self.rows for seed in row.results}
        assert runs
        if not runs_file.is_file():
            return
        try:
            with runs_file.open(newline="", encoding="utf-8") as lines:
                kept = {(line["row"], line["seed"]) for line in csv.DictReader(lines)}
        except (ValueError, LookupError, csv.Error) as error:
            raise UserError(f"{runs_file} is damaged: {error!r}", "remove it or choose another --out") from None
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
