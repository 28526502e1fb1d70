"""Curves over the epochs: loss, accuracy, learning rate, speed."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from analysis.colors import color
from analysis.exhibit import Cell, Exhibit, NumberTable, cell_text, epoch_ticks
from analysis.run_groups import Curve, RunGroup

BAND = (
    "A band reaches from the lowest to the highest of the runs that differ in their seed only; the line is their mean."
)
OTHER_BANDS = "Dashed and dotted lines are means, too; their lowest and highest values are in the table."


@dataclass(frozen=True)
class CurvePlan:
    """What is drawn over the epochs.

    Attributes:
        columns: Of metrics.csv -> what they are called. The first that a run has is a solid line.
        unit: On the axis.
        factor: From what is in the file to that unit.
        from_zero: Whether the axis begins there.
    """

    key: str
    title: str
    columns: dict[str, str]
    unit: str
    factor: float = 1.0
    from_zero: bool = True
    notes: tuple[str, ...] = ()


PLANS = (
    CurvePlan(
        "loss",
        "Loss",
        {"ema_loss": "validation, averaged weights", "val_loss": "validation", "train_loss": "training"},
        "cross-entropy",
        from_zero=False,
        notes=("The training loss is that of augmented images, and of the weights as they were during the epoch.",),
    ),
    CurvePlan(
        "top1",
        "Top-1 accuracy",
        {"ema_top1": "averaged weights", "val_top1": "weights"},
        "validation top-1 (%)",
        from_zero=False,
    ),
    CurvePlan("rate", "Learning rate", {"learning_rate": "of the weights"}, "at the end of the epoch"),
    CurvePlan(
        "speed",
        "Speed",
        {"train_images_per_second": "training", "loader_images_per_second": "what the loaders could deliver"},
        "images/s",
    ),
    CurvePlan("waiting", "Waiting for images", {"train_waiting": "waiting"}, "share of the epoch (%)", factor=100.0),
)
_DASHES = ("solid", "dash", "dot")


def curve_exhibits(groups: Sequence[RunGroup]) -> list[Exhibit]:
    """Draw all curves for which some run has numbers."""
    drawn = [(plan, _series(plan, groups)) for plan in PLANS]
    return [_exhibit(plan, series) for plan, series in drawn if series]


@dataclass(frozen=True)
class _Series:
    """One line: a column of a group of runs.

    Attributes:
        has_band: There are several runs.
        is_alone: There is no other group, so that colors tell the columns.
    """

    group: str
    column: str
    curve: Curve
    color: int
    dash: str
    has_band: bool
    is_alone: bool

    @property
    def name(self) -> str:
        return self.column if self.is_alone else f"{self.group}: {self.column}"

    @property
    def draws_band(self) -> bool:
        """Beside other groups only the solid line does, or one could not tell the bands from each other."""
        return self.has_band and (self.is_alone or self.dash == _DASHES[0])


def _series(plan: CurvePlan, groups: Sequence[RunGroup]) -> list[_Series]:
    is_alone, found = len(groups) == 1, []
    for index, group in enumerate(groups):
        columns = [column for column in plan.columns if column in group.columns]
        for at, (dash, column) in enumerate(zip(_DASHES, columns, strict=False)):
            shade = at if is_alone else index
            curve, has_band = group.curve(column), len(group.runs) > 1
            found.append(_Series(group.name, plan.columns[column], curve, shade, dash, has_band, is_alone))
    return found


def _exhibit(plan: CurvePlan, series: Sequence[_Series]) -> Exhibit:
    figure = go.Figure()
    for line in series:
        _draw(figure, line, plan.factor)
    figure.update_layout(
        xaxis_title="epochs completed",
        yaxis_title=plan.unit,
        yaxis_rangemode="tozero" if plan.from_zero else "normal",
        hovermode="x unified",
        **epoch_ticks(max(line.curve.epochs[-1] for line in series)),
    )
    last = "; ".join(f"{line.name} {cell_text(line.curve.means[-1] * plan.factor)}" for line in series)
    return Exhibit(
        plan.key,
        plan.title,
        f"{plan.title} over the epochs. At the end: {last}.",
        figure,
        _table(series, plan.factor),
        [*_key_of_dashes(series), *_key_of_bands(series), *plan.notes],
    )


def _key_of_dashes(series: Sequence[_Series]) -> list[str]:
    """Say what kinds of lines mean where colors tell the runs."""
    names = {line.dash: line.column for line in series if not line.is_alone}
    words = {"solid": "Solid", "dash": "dashed", "dot": "dotted"}
    return ["; ".join(f"{words[dash]}: {name}" for dash, name in names.items()) + "."] if len(names) > 1 else []


def _key_of_bands(series: Sequence[_Series]) -> list[str]:
    with_bands = [line for line in series if line.has_band]
    others = [OTHER_BANDS] if any(not line.draws_band for line in with_bands) else []
    return [BAND, *others] if with_bands else []


def _draw(figure: go.Figure, line: _Series, factor: float) -> None:
    """Add a line and the band around it, if it has one."""
    epochs, name = line.curve.epochs, html.escape(line.name)
    in_legend = line.is_alone or line.dash == _DASHES[0]
    legend = {"legendgroup": name if line.is_alone else html.escape(line.group)}
    if line.draws_band:
        edges = line.curve.highest + line.curve.lowest[::-1]
        figure.add_scatter(
            x=epochs + epochs[::-1],
            y=[value * factor for value in edges],
            mode="lines",
            fill="toself",
            fillcolor=color(line.color, 0.22),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            **legend,
        )
    figure.add_scatter(
        x=epochs,
        y=[value * factor for value in line.curve.means],
        name=name if line.is_alone or not in_legend else html.escape(line.group),
        showlegend=in_legend,
        **legend,
        mode="lines+markers" if len(epochs) < 3 else "lines",
        line={"color": color(line.color), "dash": line.dash, "width": 2},
        hovertemplate="%{y:,.4~r}",  # decimal, at any size
    )


def _table(series: Sequence[_Series], factor: float) -> NumberTable:
    """One line an epoch: means and, of several runs, lowest and highest."""
    columns = ["epochs completed"]
    for line in series:
        columns += [f"{line.name}, mean", "lowest", "highest"] if line.has_band else [line.name]
    lines: list[list[Cell]] = []
    for epoch in sorted({epoch for line in series for epoch in line.curve.epochs}):
        cells: list[Cell] = [str(epoch)]
        for line in series:
            cells += _cells(line, epoch, factor)
        lines.append(cells)
    return NumberTable(columns, lines)


def _cells(line: _Series, epoch: int, factor: float) -> list[Cell]:
    values = [value * factor for value in line.curve.values.get(epoch, [])]
    if not line.has_band:
        return [values[0] if values else None]
    return [sum(values) / len(values), min(values), max(values)] if values else [None] * 3
