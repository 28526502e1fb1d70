"""Pictures of a table: the accuracy of every seed, and how it grew."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reproduction.table import RowResult, Table
from training.metrics import counted_weights


def plot_table(table: Table, out: Path) -> None:
    """Write TABLE-top1.png and TABLE-curves.png."""
    for kind, figure in table_figures(table).items():
        figure.savefig(out / f"{table.name}-{kind}.png", dpi=150)


def table_figures(table: Table) -> dict[str, Figure]:
    """Draw ``top1`` and ``curves``, each with a panel for each baseline and the rows compared with it."""
    groups = _groups(table)
    return {"top1": _figure(groups, _draw_seeds), "curves": _figure(groups, _draw_curves)}


def _figure(groups: Sequence[list[RowResult]], draw: Callable[[Axes, list[RowResult]], None]) -> Figure:
    """Draw a panel for each group, in at most two columns."""
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(4.8 * columns, 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, members in zip(grid.flat, groups, strict=False):
        draw(axes, members)
        axes.set_title(members[0].row.facts.model, fontsize=10)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(groups) :]:
        figure.delaxes(axes)
    return figure


def _groups(table: Table) -> list[list[RowResult]]:
    """Return each baseline with the rows compared with it, where anything has been trained."""
    found: dict[str, list[RowResult]] = {}
    for row in table.rows:
        if row.results:
            found.setdefault(row.row.facts.baseline or row.row.name, []).append(row)
    for members in found.values():
        members.sort(key=lambda row: row.row.facts.baseline is not None)
    return list(found.values())


def _draw_seeds(axes: Axes, members: list[RowResult]) -> None:
    """One column a row, one dot a seed, a line at the mean."""
    for x, row in enumerate(members):
        top1 = row.values("top1")
        mean = sum(top1) / len(top1)
        axes.plot([x - 0.25, x + 0.25], [mean, mean], color=f"C{x}", linewidth=2)
        axes.scatter([x] * len(top1), top1, color=f"C{x}", s=18, zorder=3)
        axes.annotate(f"{mean:.2f}", (x + 0.27, mean), fontsize=8, va="center")
    axes.set_xticks(range(len(members)), [row.row.variant for row in members])
    axes.set_xlim(-0.5, len(members) - 0.1)
    axes.set_ylabel("top-1 after the last epoch (%)")


def _draw_curves(axes: Axes, members: list[RowResult]) -> None:
    """Draw validation accuracy by epoch, the mean over the seeds."""
    for x, row in enumerate(members):
        histories = row.values("history")
        epochs = [epoch["epoch"] + 1 for epoch in histories[0]]
        top1 = [[epoch[f"{counted_weights(epoch)}_top1"] for epoch in history] for history in histories]
        means = [sum(at) / len(at) for at in zip(*top1, strict=False)]
        marker = "o" if len(means) == 1 else None  # a line through one point is none
        axes.plot(epochs[: len(means)], means, color=f"C{x}", marker=marker, label=row.row.variant)
    axes.set(xlabel="epoch", ylabel="validation top-1 (%)")
    locator: Any = axes.xaxis.get_major_locator()
    locator.set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
