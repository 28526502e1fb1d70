"""Receptive fields of all runs side by side, including a dense baseline if there is one."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.colors import color
from analysis.exhibit import Cell, Exhibit, NumberTable
from analysis.input_images import input_images
from analysis.receptive_field import receptive_field, share_within_squares, side_that_holds, with_surroundings
from analysis.run_data import RunData

_MOST_CELLS = 64  # along each side of a drawing
_DECADES = 4
_COLOR_BAR = {
    "orientation": "h",
    "y": -0.2,
    "yanchor": "top",
    "thickness": 10,
    "tickvals": list(range(-_DECADES, 1)),
    "ticktext": ["≤ 0.0001", "0.001", "0.01", "0.1", "1"],
}
_SHARES = (0.25, 0.5, 0.75, 0.9, 0.99)
NOTES = (
    "The magnitude of the gradient of the middle output feature before pooling (the positive parts of its channels, "
    "summed) with respect to the input, summed over the colors and averaged over images. Where the map of features has "
    "even sides, the features around the center are taken together. The numbers compare models of this page; other "
    "authors measure otherwise: RepLKNet's code keeps the positive part of the gradient, on images of 1024x1024.",
)


@dataclass(frozen=True)
class MeasuredField:
    """The receptive field of a run's model.

    Attributes:
        name: Of the run.
        group: Index of its group on the page, which gives its color.
        field: (H, W), shares that sum to 1.
        images: What it was measured with.
    """

    name: str
    group: int
    field: Tensor
    images: str


def measure_field(run: RunData, model: nn.Module, group: int) -> MeasuredField:
    """Measure the model of a run.

    Args:
        group: Index of the run's group on the page.

    Raises:
        ValueError: the model has no receptive field.
        RuntimeError: the model fails.
    """
    images, what = input_images(run, model)
    images, factor = with_surroundings(model, images)
    what += "" if factor == 1 else f", each in the middle of {factor}x{factor} mirror images of itself"
    return MeasuredField(run.name, group, receptive_field(model, images), what)


def reach_exhibits(fields: Sequence[MeasuredField]) -> list[Exhibit]:
    """Draw all of them in one diagram of shares, and each as a map."""
    return [_shares(fields), *(_map(f"field{at}", field) for at, field in enumerate(fields))] if fields else []


def _shares(fields: Sequence[MeasuredField]) -> Exhibit:
    figure = go.Figure()
    for measured in fields:
        within = share_within_squares(measured.field)
        first = 1 if max(measured.field.shape) % 2 else 2
        figure.add_scatter(
            x=[first + 2 * step for step in range(len(within))],
            y=(100 * within).tolist(),
            name=html.escape(measured.name),
            mode="lines",
            line={"color": color(measured.group), "width": 2},
            hovertemplate="%{y:.1f} %",
        )
    figure.update_layout(
        xaxis_title="side of a centered square (pixels)",
        yaxis_title="share of the gradient in it (%)",
        hovermode="x unified",
        showlegend=len(fields) > 1,
    )
    sides: list[list[Cell]] = [
        [
            measured.name,
            *(side_that_holds(measured.field, share) for share in _SHARES),
            "x".join(map(str, measured.field.shape)),
        ]
        for measured in fields
    ]
    half = "; ".join(f"{f.name} {side_that_holds(f.field)} pixels" for f in fields)
    return Exhibit(
        "reach",
        "How much of the image counts",
        f"Share of the gradient within centered squares. The side that holds half of it: {half}.",
        figure,
        NumberTable(["run", *(f"side that holds {share:.0%}" for share in _SHARES), "image"], sides),
        (*NOTES, *(f"{f.name}: {f.images}." for f in fields)),
    )


def _map(key: str, measured: MeasuredField) -> Exhibit:
    cells, step = _pooled(measured.field)
    height, width = measured.field.shape
    figure = _drawing(cells / cells.max(), step, height, width)
    half = side_that_holds(measured.field)
    table = NumberTable(["share of the gradient", "within a square of side (pixels)"], [])
    table.lines.extend([[f"{share:.0%}", side_that_holds(measured.field, share)] for share in _SHARES])
    return Exhibit(
        key,
        f"Receptive field of {measured.name}",
        f"Gradient of the middle output feature on an image of {height}x{width} pixels, relative to its largest. Half "
        f"of it is in a centered square of {half} pixels.",
        figure,
        table,
        (f"Colors are logarithmic. Measured with {measured.images}.",),
    )


def _drawing(relative: Tensor, step: int, height: int, width: int) -> go.Figure:
    """Draw a map (h, w), relative to its largest value, over an image (H, W) with ``step`` pixels a cell and side."""
    heatmap = go.Heatmap(
        z=relative.clamp_min(10.0**-_DECADES).log10().mul(100).round().div(100).tolist(),
        customdata=[[float(f"{value:.3g}") for value in row] for row in relative.tolist()],
        x0=(step - 1) / 2,
        dx=step,
        y0=(step - 1) / 2,
        dy=step,
        zmin=-_DECADES,
        zmax=0,
        autocolorscale=True,
        colorbar=_COLOR_BAR,
        hovertemplate="row %{y}, column %{x}<br>%{customdata} of the largest<extra></extra>",
    )
    axis = {"constrain": "domain", "showgrid": False}
    return go.Figure(heatmap).update_layout(
        xaxis={**axis, "title": "column", "range": [-0.5, width - 0.5]},
        yaxis={**axis, "title": "row", "range": [height - 0.5, -0.5], "scaleanchor": "x"},
    )


def _pooled(field: Tensor) -> tuple[Tensor, int]:
    """Average over squares so that a drawing has at most 64 cells a side; return them and the squares' side."""
    step = -(-max(field.shape) // _MOST_CELLS)
    return F.avg_pool2d(field[None, None], step, ceil_mode=True, count_include_pad=False)[0, 0], step
