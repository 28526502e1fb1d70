"""Where the mass of the kernels is, layer by layer, and which elements do not do their part."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import plotly.graph_objects as go

from analysis.colors import color
from analysis.exhibit import Cell, Exhibit, NumberTable, short_names
from dcls.diagnostics import LayerDiagnostics

Layers = dict[str, LayerDiagnostics]
_SHARES = {
    "at_border": "at the border of their limits",
    "outside_kernel": "outside the kernel",
    "coinciding": "less than half a pixel from another one",
    "at_floor": "spreads that are as small as they can be",
}


@dataclass(frozen=True)
class DescribedRun:
    """What the DCLS layers of a run have learned.

    Attributes:
        name: Of the run.
        group: Index of its group on the page, which gives its color.
        layers: By name; empty for a dense model.
    """

    name: str
    group: int
    layers: Layers


def mass_exhibits(described: Sequence[DescribedRun]) -> list[Exhibit]:
    """Draw the runs that have DCLS layers."""
    runs = _shortened([run for run in described if run.layers])
    if not runs:
        return []
    radius = _by_layer(
        "radius",
        "How far kernels reach",
        "effective radius (pixels)",
        runs,
        "effective_radius",
        1.0,
        "The effective radius is the root mean square distance of |weight| from the center of the dense kernel.",
    )
    outside = _by_layer(
        "outside",
        "Mass outside the central 7x7",
        "share of |weight| (%)",
        runs,
        "mass_outside",
        100.0,
        "The share of |weight| that a dense 7x7 kernel would not have room for.",
    )
    return [
        radius,
        outside,
        *(_elements(f"elements{at}", run.name, run.layers, len(runs) > 1) for at, run in enumerate(runs)),
    ]


def _shortened(runs: Sequence[DescribedRun]) -> list[DescribedRun]:
    """Shorten layer names the same way in every run, so that the bars of a layer line up."""
    short = short_names(_layer_names(runs))
    return [replace(run, layers={short[name]: layer for name, layer in run.layers.items()}) for run in runs]


def _layer_names(runs: Sequence[DescribedRun]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.layers))


def _by_layer(
    key: str, title: str, unit: str, runs: Sequence[DescribedRun], attribute: str, factor: float, note: str
) -> Exhibit:
    figure = go.Figure()
    values: list[dict[str, float]] = []
    for run in runs:
        measured = {name: factor * getattr(layer, attribute) for name, layer in run.layers.items()}
        values.append({name: value for name, value in measured.items() if math.isfinite(value)})
        figure.add_bar(
            x=[html.escape(name) for name in values[-1]],
            y=list(values[-1].values()),
            name=html.escape(run.name),
            marker_color=color(run.group),
            hovertemplate="%{y:.3g}",
        )
    figure.update_layout(yaxis_title=unit, yaxis_rangemode="tozero", showlegend=len(runs) > 1, xaxis_type="category")
    table: list[list[Cell]] = [[name, *(of_run.get(name) for of_run in values)] for name in _layer_names(runs)]
    ranges = "; ".join(
        f"{run.name} from {min(v.values()):.3g} to {max(v.values()):.3g}"
        for run, v in zip(runs, values, strict=True)
        if v
    )
    columns = ["layer", *(f"{run.name}: {unit}" for run in runs)]
    return Exhibit(key, title, f"{title}, {unit}, by layer: {ranges}.", figure, NumberTable(columns, table), (note,))


def _elements(key: str, run: str, layers: Layers, has_others: bool) -> Exhibit:
    """Draw the shares of elements, and list all that is known of the layers."""
    title = f"Elements and spreads of {run}" if has_others else "Elements and spreads"
    figure = go.Figure()
    largest = []
    for index, (attribute, label) in enumerate(_SHARES.items()):
        shares = {name: getattr(layer, attribute) for name, layer in layers.items()}
        known = {name: 100 * share for name, share in shares.items() if share is not None}
        if known:
            largest.append(f"{label} {max(known.values()):.3g} %")
            figure.add_bar(
                x=[html.escape(name) for name in known],
                y=list(known.values()),
                name=label,
                marker_color=color(index),
                hovertemplate="%{y:.3g} %",
            )
    figure.update_layout(yaxis_title="share (%)", yaxis_range=[0, 100], xaxis_type="category")
    return Exhibit(
        key,
        title,
        f"Shares of elements by layer. The most in any layer: {'; '.join(largest)}.",
        figure,
        _table(layers),
        ("Layers that share positions have the same elements and spreads, and kernels of their own.",),
    )


def _table(layers: Layers) -> NumberTable:
    columns = [
        "layer",
        "effective radius (pixels)",
        "mass outside 7x7 (%)",
        *(f"{label} (%)" for label in _SHARES.values()),
        "spread, lower quartile (pixels)",
        "spread, median (pixels)",
        "spread, upper quartile (pixels)",
    ]
    return NumberTable(columns, [[name, *_cells(layer)] for name, layer in layers.items()])


def _cells(layer: LayerDiagnostics) -> list[Cell]:
    shares = [layer.mass_outside, *(getattr(layer, attribute) for attribute in _SHARES)]
    percents = [None if share is None else 100 * share for share in shares]
    quartiles = [layer.spread_lower_quartile, layer.spread_median, layer.spread_upper_quartile]
    return [
        value if value is not None and math.isfinite(value) else None
        for value in (layer.effective_radius, *percents, *quartiles)
    ]
