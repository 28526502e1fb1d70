"""Pictures of studies: the accuracy of every seed of every row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from reproduction.studies import SETTINGS, Study, all_studies
from reproduction.study_runs import Runs
from training.atomic_io import write_atomic

Panel = dict[str, list[float]]
"""Label of a row -> top-1 of every seed in %."""


@dataclass(frozen=True)
class StudyPlot:
    """The picture of one study.

    Attributes:
        name: Of the study; NAME.png is its file.
        baseline: Label of the row with dense kernels.
        panels: One for each setting that some of the runs belong to, by its title.
    """

    name: str
    baseline: str
    panels: dict[str, Panel]

    def figure(self) -> Figure:
        """Draw a panel for each setting, as high as its rows need."""
        heights = [0.8 + 0.32 * len(panel) for panel in self.panels.values()]
        figure = Figure(figsize=(7.0, sum(heights)), layout="constrained")
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
        for axes, (title, panel) in zip(grid.flat, self.panels.items(), strict=True):
            _draw(axes, panel, self.baseline)
            axes.set_xlabel(f"top-1 in %, {title}")
        return figure

    def write(self, folder: Path) -> None:
        """Write NAME.png, which says in its metadata what it shows."""
        metadata = {"Software": None, "Description": self._shown}  # no version, or each release would change the file
        figure = self.figure()
        write_atomic(self._file(folder), lambda file: figure.savefig(file, format="png", dpi=130, metadata=metadata))

    def is_current(self, folder: Path) -> bool:
        """Return whether NAME.png is there, whole, and shows these numbers."""
        try:
            with Image.open(self._file(folder)) as image:
                image.load()
                return image.info.get("Description") == self._shown
        except (OSError, SyntaxError):  # missing; empty or cut off, for which Pillow has several
            return False

    @property
    def _shown(self) -> str:
        return json.dumps(self.panels)

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.png"


def study_plots(runs: Runs) -> list[StudyPlot]:
    """Return the pictures of all studies that some of the runs belong to."""
    plots = []
    for study in all_studies().values():
        panels = {SETTINGS[setting].title: _panel(study, setting, runs) for setting in study.facts.settings}
        if measured := {title: panel for title, panel in panels.items() if panel}:
            plots.append(StudyPlot(study.name, study.facts.variants[study.facts.baseline].label, measured))
    return plots


def _panel(study: Study, setting: str, runs: Runs) -> Panel:
    names = study.measured(setting, runs)
    return {
        study.facts.variants[name].label: [run.top1 for _, run in sorted(runs[study.row_name(setting, name)].items())]
        for name in names
    }


def _draw(axes: Axes, panel: Mapping[str, Sequence[float]], baseline: str) -> None:
    """Draw a line for each row, a dot for each seed, a bar at the mean; the dense row's goes through all lines."""
    for y, (label, top1) in enumerate(panel.items()):
        mean = sum(top1) / len(top1)
        color = "C7" if label == baseline else "C0"
        axes.plot([mean, mean], [y - 0.3, y + 0.3], color=color, linewidth=2)
        axes.scatter(top1, [y] * len(top1), color=color, s=16, zorder=3)
        if label == baseline:
            axes.axvline(mean, color=color, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(panel)), list(panel), fontsize=8)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
