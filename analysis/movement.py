"""How far the elements of the kernels moved through training, and how their spreads changed."""

import html
from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.colors import PALETTE, color
from analysis.exhibit import Cell, Exhibit, NumberTable, epoch_ticks, short_names
from analysis.run_groups import RunGroup
from dcls.diagnostics import mean_movement
from training.position_history import Elements

History = Sequence[tuple[int, Elements]]
Lines = dict[str, dict[int, float]]
"""Name -> value by epochs completed."""
_COLORS = "Colors tell layers or sets apart; point at a line for its name."
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def movement_exhibits(groups: Sequence[RunGroup]) -> list[Exhibit]:
    """Draw the first run of each group that has kept its positions."""
    found = []
    for key, title, unit, measure in (
        ("moved", "How far elements moved", "mean distance (pixels)", mean_distances),
        ("spreads", "How wide elements are", "mean spread (pixels)", mean_spreads),
    ):
        lines = _lines_of_all(groups, measure)
        if lines:
            found.append(_exhibit(key, title, unit, lines, _origins(groups) if key == "moved" else []))
    return found


def _origins(groups: Sequence[RunGroup]) -> list[str]:
    """Say from where distances are measured: the first file of a history may be damaged, or of a run that went on."""
    first = [(group.first.name, group.first.positions[0][0]) for group in groups if group.first.positions]
    others = [
        f"Of {run}, from where they were after {epoch} {'epoch' if epoch == 1 else 'epochs'}, the first that are kept."
        for run, epoch in first
        if epoch
    ]
    return [*(["From where they were before training."] if len(others) < len(first) else []), *others]


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


def _lines_of_all(groups: Sequence[RunGroup], measure: Callable[[History], Lines]) -> list[tuple[str, Lines]]:
    """Return the name of each run and its lines, of those that have some."""
    measured = [(group.first.name, measure(group.first.positions)) for group in groups if group.first.positions]
    return [(name, lines) for name, lines in measured if lines]


def _exhibit(key: str, title: str, unit: str, runs: Sequence[tuple[str, Lines]], notes: Sequence[str]) -> Exhibit:
    figure = go.Figure()
    columns = ["epochs completed"]
    values: list[dict[int, float]] = []
    several = len(runs) > 1
    for dash, (run, lines) in enumerate(runs):
        short = short_names(list(lines))
        labels = {name: f"{run}: {short[name]}" if several else short[name] for name in lines}
        columns += labels.values()
        values += lines.values()
        for index, name in enumerate(_drawn(lines)):
            figure.add_scatter(
                x=list(lines[name]),
                y=list(lines[name].values()),
                name=html.escape(run if several else labels[name]),  # of several runs, the dashes alone have room
                legendgroup=html.escape(run if several else labels[name]),
                showlegend=index == 0 or not several,
                mode="lines" if len(lines[name]) > 1 else "markers",  # a line through one point is none
                line={"color": color(index), "dash": _DASHES[dash % len(_DASHES)], "width": 2},
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


def _drawn(lines: Lines) -> list[str]:
    """Choose as many lines as there are colors: those that end lowest, and those that end highest."""
    if len(lines) <= len(PALETTE):
        return list(lines)
    ranked = sorted(lines, key=lambda name: lines[name][max(lines[name])])
    half = len(PALETTE) // 2
    chosen = {*ranked[:half], *ranked[-half:]}
    return [name for name in lines if name in chosen]


def _left_out(runs: Sequence[tuple[str, Lines]]) -> list[str]:
    if all(len(lines) <= len(PALETTE) for _, lines in runs):
        return []
    half = len(PALETTE) // 2
    return [f"Of more than {len(PALETTE)}, the {half} that end lowest and the {half} that end highest are drawn."]
