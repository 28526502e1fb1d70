#!/usr/bin/env python3
"""Draw how far apart the elements of the study of reach are, before and after training, over the true distances.

    python scripts/plot_reach.py output --out docs/images/studies

Both discs of an object are seen by a kernel that has two heavy elements as far apart as the discs are. So every pair of
elements of a kernel counts by the product of its weights after training, and the mass of the pairs is shown over their
distance.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import _checkout  # noqa: F401
import numpy as np
from make_reach_task import DISTANCES
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcls.checkpoints.reading import read_weights
from dcls.errors import UserError
from reproduction.studies import all_studies
from training.cli import cli_errors
from training.metrics import read_metrics
from training.position_history import load_history
from training.run_folder import METRICS, WEIGHTS

CELL = 8  # pixels
BINS = np.arange(-0.25, 22.5, 0.5)

Pairs = dict[str, np.ndarray]
"""``before`` and ``after``, distances in cells, and ``mass``, (pairs,) each."""


def main() -> None:
    """Run the command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of all runs, as reproduce.py launch has it")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the picture is written")
    options = parser.parse_args()
    with cli_errors():
        panels = read_panels(options.runs)
        file = options.out / "reach_positions.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        plot(panels).savefig(file, dpi=130, metadata={"Software": None, "Description": "; ".join(panels)})
        print(file)


def read_panels(runs: Path) -> dict[str, list[Pairs]]:
    """Read every DCLS row of which runs are finished: its title and number of seeds -> the pairs of each seed.

    Raises:
        UserError: there is none, or a run has not kept its positions.
    """
    study = all_studies()["reach"]
    panels = {}
    for name, variant in study.facts.variants.items():
        folders = sorted((runs / "studies").glob(f"{study.row_name('reach', name)}-seed*"))
        pairs = [
            read_pairs(folder) for folder in folders if "model.dcls" in variant.set and (folder / WEIGHTS).is_file()
        ]
        if pairs:
            panels[f"{variant.title}, {len(pairs)} seeds" if len(pairs) > 1 else f"{variant.title}, one seed"] = pairs
    if not panels:
        raise UserError(f"{runs} holds no finished run of the study", "launch 'reach/*' with scripts/reproduce.py")
    return panels


def plot(panels: Mapping[str, Sequence[Pairs]]) -> Figure:
    """Draw a panel for each row, all seeds together."""
    figure = Figure(figsize=(7, 1 + 1.4 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)
    for axes, (title, pairs) in zip(grid.flat, panels.items(), strict=True):
        _draw(axes, pairs)
        axes.set_title(title, fontsize=9, loc="left")
    grid[0, 0].legend(frameon=False, fontsize=8)
    grid[-1, 0].set_xlabel("horizontal distance of two elements, in cells; dotted: of two discs")
    return figure


def _draw(axes: Axes, pairs: Sequence[Pairs]) -> None:
    mass = np.concatenate([found["mass"] for found in pairs])
    for moment, color in (("before", "C7"), ("after", "C0")):
        distances = np.concatenate([found[moment] for found in pairs])
        axes.hist(
            distances,
            BINS.tolist(),
            weights=mass / mass.sum(),
            color=color,
            histtype="step",
            label=f"{moment} training",
        )
    for distance in DISTANCES:
        axes.axvline(distance / CELL, color="C3", linestyle=":", linewidth=1)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)


def read_pairs(run: Path) -> Pairs:
    """Return, for every pair of elements of a kernel, its distance before and after training and its mass.

    Raises:
        UserError: the run has not kept its positions from before and after training.
    """
    weights = {name: tensor for name, tensor in read_weights(run / WEIGHTS).items() if name.endswith("conv_dw.weight")}
    if len(weights) != 1:
        raise UserError(f"{run} has {len(weights)} blocks, and the row has one", "remove it and launch its row again")
    (tensor,) = weights.values()
    weight = tensor.numpy()  # (O, 1, N)
    history, epochs = load_history(run), len(read_metrics(run / METRICS))
    if [epoch for epoch, _ in history[:1] + history[-1:]] != [0, epochs]:
        raise UserError(
            f"{run} has not kept its positions from before and after training", "remove it and launch its row again"
        )
    first, last = (next(iter(elements.values()))[0][1, :, 0].astype(float) for _, elements in (history[0], history[-1]))
    one, other = np.triu_indices(weight.shape[-1], 1)
    mass = np.abs(weight[:, 0, one] * weight[:, 0, other]).ravel()
    before, after = (np.abs(columns[:, one] - columns[:, other]).ravel() for columns in (first, last))
    return {"before": before, "after": after, "mass": mass}


if __name__ == "__main__":
    main()
