"""Pictures of studies: the accuracy of every seed of every row."""

from pathlib import Path

import matplotlib

from reproduction.studies import SETTINGS, Study, all_studies
from reproduction.study_runs import Runs

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
from matplotlib.axes import Axes


def plot_studies(runs: Runs, out: Path) -> list[Path]:
    """Write STUDY.png for each study that some of the runs belong to.

    Returns:
        The files.
    """
    files = []
    for study in all_studies().values():
        panels = {setting: measured for setting in study.facts.settings if (measured := study.measured(setting, runs))}
        if panels:
            files.append(_plot(study, panels, runs, out / f"{study.name}.png"))
    return files


def _plot(study: Study, panels: dict[str, list[str]], runs: Runs, file: Path) -> Path:
    """Draw a panel for each setting, as high as its variants need."""
    heights = [0.8 + 0.32 * len(variants) for variants in panels.values()]
    figure, grid = plt.subplots(
        len(panels), 1, squeeze=False, figsize=(7.0, sum(heights)), height_ratios=heights, layout="constrained"
    )
    for axes, (setting, variants) in zip(grid.flat, panels.items(), strict=True):
        _draw(axes, study, setting, variants, runs)
    figure.savefig(file, dpi=130, metadata={"Software": None})  # the same file from another version of Matplotlib
    plt.close(figure)
    return file


def _draw(axes: Axes, study: Study, setting: str, names: list[str], runs: Runs) -> None:
    """Draw a line for each row, a dot for each seed, a bar at the mean; the dense row's goes through all lines."""
    for y, name in enumerate(names):
        top1 = [run.top1 for run in runs[study.row_name(setting, name)].values()]
        mean = sum(top1) / len(top1)
        color = "C7" if name == study.facts.baseline else "C0"
        axes.plot([mean, mean], [y - 0.3, y + 0.3], color=color, linewidth=2)
        axes.scatter(top1, [y] * len(top1), color=color, s=16, zorder=3)
        if name == study.facts.baseline:
            axes.axvline(mean, color=color, linestyle=":", linewidth=1)
    variants = [study.facts.variants[name] for name in names]
    labels = [f"{variant.title}, {variant.kernel}" for variant in variants]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"top-1 in %, {SETTINGS[setting].title}")
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
