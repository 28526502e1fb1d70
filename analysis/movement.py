"""How far the elements of the kernels moved through training, and how their spreads changed."""

import html
from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.colors import PALETTE, color
from analysis.exhibit import Cell, Exhibit, NumberTable, epoch_ticks, short_names
from analysis.run_data import RunData
from analysis.run_groups import RunGroup
from dcls.diagnostics import mean_movement
from training.position_history import Elements

History = Sequence[tuple[int, Elements]]
Lines = dict[str, dict[int, float]]
"""Name -> value by epochs completed."""
_COLORS = "Colors tell layers or sets apart; point at a line for its name."
_HALF = len(PALETTE) // 2
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def movement_exhibits(groups: Sequence[RunGroup]) -> list[Exhibit]:
    """Draw the first run of each group that has kept its positions."""
    runs = [run for group in groups if (run := group.first_with("positions"))]
    found = []
    for key, title, unit, measure in (
        ("moved", "How far elements moved", "mean distance (pixels)", mean_distances),
        ("spreads", "How wide elements are", "mean spread (pixels)", mean_spreads),
    ):
        lines = [(run.name, measured) for run in runs if (measured := measure(run.positions))]
        if lines:
            found.append(_exhibit(key, title, unit, lines, _origins(runs) if key == "moved" else []))
    return found


def _origins(runs: Sequence[RunData]) -> list[str]:
    """Say from where distances are measured: the first file of a history may be damaged, or of a run that went on."""
    late = [(run.name, epoch) for run in runs if (epoch := run.positions[0][0])]
    others = [
        f"Those of {run} are measured from the positions after {epoch} {'epoch' if epoch == 1 else 'epochs'}, the "
        "earliest that were kept."
        for run, epoch in late
    ]
    return [*(["Distances are measured from the positions before training."] if len(late) < len(runs) else []), *others]


def mean_distances(history: History) -> Lines:
    """Measure how far the elements of each layer or set are from where they were first, in pixels, on average."""
    start = history[0][1]
    return _by_name(
        history,
        lambda name, positions, _: (
            None
            if name not in start or start[name][0].shape != positions.shape
            else mean_movement(positions, start[name][0])
        ),
    )


def mean_spreads(history: History) -> Lines:
    """Average the learned spreads of each layer or set, in pixels."""
    return _by_name(history, lambda _, __, spread: None if spread is None else float(spread.astype(np.float32).mean()))


def _by_name(history: History, measure: Callable[[str, np.ndarray, np.ndarray | None], float | None]) -> Lines:
    lines: Lines = {}
    for epoch, elements in history:
        for name, (positions, spread) in elements.items():
            value = measure(name, positions, spread)
            if value is not None:
                lines.setdefault(name, {})[epoch] = value
    return lines


def _exhibit(key: str, title: str, unit: str, runs: Sequence[tuple[str, Lines]], notes: Sequence[str]) -> Exhibit:
    figure = go.Figure()
    columns = ["epochs completed"]
    values: list[dict[int, float]] = []
    several = len(runs) > 1
    short = short_names(list(dict.fromkeys(name for _, lines in runs for name in lines)))
    drawn = _drawn([lines for _, lines in runs])
    for dash, (run, lines) in enumerate(runs):
        labels = {name: f"{run}: {short[name]}" if several else short[name] for name in lines}
        columns += labels.values()
        values += lines.values()
        for index, name in enumerate(name for name in drawn if name in lines):
            figure.add_scatter(
                x=list(lines[name]),
                y=list(lines[name].values()),
                name=html.escape(run if several else labels[name]),  # of several runs, the dashes alone have room
                legendgroup=html.escape(run if several else labels[name]),
                showlegend=index == 0 or not several,
                mode="lines" if len(lines[name]) > 1 else "markers",  # a line through one point is none
                line={"color": color(drawn.index(name)), "dash": _DASHES[dash % len(_DASHES)], "width": 2},
                hovertemplate=f"%{{y:.3g}} {html.escape(labels[name])}<extra></extra>",
            )
    epochs = sorted({epoch for line in values for epoch in line})
    figure.update_layout(
        xaxis_title="epochs completed", yaxis_title=unit, yaxis_rangemode="tozero", **epoch_ticks(epochs[-1])
    )
    table: list[list[Cell]] = [[str(epoch), *(line.get(epoch) for line in values)] for epoch in epochs]
    last = "; ".join(f"{label} {line[max(line)]:.2f}" for label, line in zip(columns[1:], values, strict=True))
    return Exhibit(
        key,
        title,
        f"{title}, by layer or set of shared positions. Last, in pixels: {last}.",
        figure,
        NumberTable(columns, table),
        [*([_COLORS] if several else []), *notes, *_left_out(runs)],
    )


def _drawn(runs: Sequence[Lines]) -> list[str]:
    """Choose as many lines of each run as can be told apart; what one run draws is drawn of all, in one color."""
    chosen: dict[str, None] = {}
    for lines in runs:
        ranked = sorted(lines, key=lambda name: lines[name][max(lines[name])])
        ends = {*ranked[:_HALF], *ranked[-_HALF:]}
        chosen |= dict.fromkeys(name for name in lines if name in ends)
    return list(chosen)


def _left_out(runs: Sequence[tuple[str, Lines]]) -> list[str]:
    if all(len(lines) <= 2 * _HALF for _, lines in runs):
        return []
    return [f"Of more than {2 * _HALF}, the {_HALF} that end lowest and the {_HALF} that end highest are drawn."]
