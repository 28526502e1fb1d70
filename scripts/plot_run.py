#!/usr/bin/env python3
"""Draw a finished run: loss and accuracy curves, and the learned positions over the dense kernels.

    scripts/plot_run.py output/quickstart

writes curves.png and, for models with DCLS layers, kernels.png into the run's folder.
"""

import argparse
import csv
from pathlib import Path

import _checkout  # noqa: F401
import matplotlib

import dcls
from dcls.errors import UserError
from models.loading import load_model
from training.cli import cli_errors
from training.metrics import counted_weights
from training.plot_kernels import plot_kernels
from training.run_folder import BEST, METRICS

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    options = parser.parse_args()
    with cli_errors():
        plot_curves(options.run / METRICS, options.run / "curves.png")
        print(options.run / "curves.png")
        model, _ = load_model(options.run / BEST)
        if dcls.position_owners(model):
            plot_kernels(model).savefig(options.run / "kernels.png", dpi=150)
            print(options.run / "kernels.png")


def plot_curves(metrics: Path, out: Path) -> None:
    """Loss and accuracy over the epochs.

    Raises:
        UserError: the run has no metrics.
    """
    if not metrics.is_file():
        raise UserError(f"no {metrics}", "name the folder of a run that has finished an epoch")
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {key: [float(row[key] or "nan") for row in rows] for key in rows[0]}
    epochs = columns["epoch"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for key, label in (
        ("train_loss", "training, augmented"),
        ("val_loss", "validation"),
        ("ema_loss", "validation, averaged weights"),
    ):
        if key in columns:
            left.plot(epochs, columns[key], label=label)
    left.set(xlabel="epoch", ylabel="loss")
    for key, label in (("val_top1", "weights"), ("ema_top1", "averaged weights")):
        if key in columns:
            right.plot(epochs, columns[key], label=label)
    best = np.nanmax(columns[f"{counted_weights(columns)}_top1"])
    right.set(xlabel="epoch", ylabel="validation top-1 (%)", title=f"best {best:.1f} %")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
