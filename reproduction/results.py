"""What finished runs reached, as ``reproduce.py collect`` left it in results/TABLE/TABLE.csv."""

import csv
from dataclasses import dataclass
from pathlib import Path

from dcls.errors import UserError
from reproduction.row import REPOSITORY

RESULTS = REPOSITORY / "results"


@dataclass(frozen=True)
class RowScore:
    """The top-1 accuracy of a row over its finished runs, in %.

    Attributes:
        deviation: Standard deviation over seeds; None of a single run.
        over_baseline_deviation: Standard deviation of the differences to the row's baseline, in percentage points;
            None without two pairs.
        pairs: Number of pairs of runs.
    """

    runs: int
    top1: float
    deviation: float | None
    over_baseline_deviation: float | None = None
    pairs: int = 0

    def __str__(self) -> str:
        return f"{self.top1:.2f}" if self.deviation is None else f"{self.top1:.2f} ± {self.deviation:.2f}"


def read_scores(table: str, results: Path = RESULTS) -> dict[str, RowScore]:
    """Return the scores of a table's rows by name; rows that have not been trained are left out.

    Raises:
        UserError: the file is damaged.
    """
    file = results / table / f"{table}.csv"
    if not file.is_file():
        return {}
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return {line["row"]: _score(line) for line in csv.DictReader(lines) if int(line["runs"])}
    except (ValueError, TypeError, LookupError, csv.Error) as error:
        raise UserError(f"{file} is damaged: {error!r}", "collect its runs again") from None


def _score(line: dict[str, str]) -> RowScore:
    """Read one line of the CSV, whose numbers may be missing."""
    deviation, over_baseline_deviation = line["top1_deviation"], line["over_baseline_deviation"]
    return RowScore(
        runs=int(line["runs"]),
        top1=float(line["top1_mean"]),
        deviation=float(deviation) if deviation else None,
        over_baseline_deviation=float(over_baseline_deviation) if over_baseline_deviation else None,
        pairs=int(line["pairs"]),
    )
