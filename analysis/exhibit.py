"""One drawing of the page, with all that makes it readable without seeing it: a sentence, and its numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go

Cell = str | int | float | None
_MOST_TICKS = 8


@dataclass(frozen=True)
class NumberTable:
    """Columns and lines of a table; None is an empty cell."""

    columns: list[str]
    lines: list[list[Cell]]

    def texts(self) -> list[list[str]]:
        """Return the lines as people read them: four digits, and a dash for what is not there or not finite."""
        return [[cell_text(cell) for cell in line] for line in self.lines]


@dataclass(frozen=True)
class Exhibit:
    """A figure of Plotly's, its title, and what is said of it.

    Attributes:
        key: Names it in the page's addresses.
        summary: What there is to see, for whoever does not see it.
        notes: How it was measured.
        table: Its numbers.
    """

    key: str
    title: str
    summary: str
    figure: go.Figure
    table: NumberTable
    notes: Sequence[str] = field(default=())


def epoch_ticks(last: float) -> dict[str, int]:
    """Return the axis of epochs for ``update_layout``: a short one has whole numbers alone."""
    return {"xaxis_dtick": 1} if last <= _MOST_TICKS else {}


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Leave out the parts that all names of layers end with: stages.0.blocks.0.conv_dw becomes stages.0.blocks.0."""
    parts = [name.split(".") for name in names]
    shared = 0
    while len(names) > 1 and all(len(p) > shared + 1 for p in parts) and len({p[-1 - shared] for p in parts}) == 1:
        shared += 1
    return {name: ".".join(p[: len(p) - shared]) for name, p in zip(names, parts, strict=True)}


def cell_text(cell: Cell) -> str:
    """Return a cell as people read it: 0.1235, and 12,346 rather than 1.235e+04."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
