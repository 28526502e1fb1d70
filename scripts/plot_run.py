#!/usr/bin/env python3
"""Draw a finished run: loss and accuracy curves, and the learned positions over the dense kernels.

    scripts/plot_run.py output/quickstart

writes curves.png and, for networks with DCLS layers, kernels.png into the run's folder.
"""

import argparse
import csv
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import nn

import dcls
from training.checkpoint import load_weights, read_description, read_weights
from training.errors import UserError, errors_for_people
from training.network import rebuild_network
from training.run_folder import BEST

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt

KERNELS_PER_STAGE = 6


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    options = parser.parse_args()
    with errors_for_people():
        plot_curves(options.run / "metrics.csv", options.run / "curves.png")
        print(options.run / "curves.png")
        network = load_network(options.run / BEST)
        if dcls.position_owners(network):
            plot_kernels(network, options.run / "kernels.png")
            print(options.run / "kernels.png")


def plot_curves(metrics: Path, out: Path) -> None:
    """Loss and accuracy over the epochs.

    Raises:
        UserError: the run has no metrics.
    """
    if not metrics.is_file():
        raise UserError(f"no {metrics}: not the folder of a run, or one without a finished epoch")
    with metrics.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {key: [float(row[key]) for row in rows] for key in rows[0]}
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
    best = max(columns.get("ema_top1", columns["val_top1"]))
    right.set(xlabel="epoch", ylabel="validation top-1 (%)", title=f"best {best:.1f} %")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def load_network(checkpoint: Path) -> nn.Module:
    """The network of a checkpoint, with its (averaged) weights.

    Raises:
        UserError: the file is missing or not of this project.
    """
    known = read_description(checkpoint)
    if known is None:
        raise UserError(f"{checkpoint} does not say which network it belongs to")
    network = rebuild_network(known)
    load_weights(network, read_weights(checkpoint), checkpoint)
    return network.eval()


@torch.no_grad()
def plot_kernels(network: nn.Module, out: Path) -> None:
    """For each set of positions, the strongest kernels of its first layer, with a ring where each element sits.

    A ring's radius is the element's learned spread; red and blue are positive and negative weights.
    """
    layers = first_layer_of_each_set(network)
    figure, grid = plt.subplots(
        len(layers),
        KERNELS_PER_STAGE,
        squeeze=False,
        figsize=(1.6 * KERNELS_PER_STAGE, 1.75 * len(layers)),
        layout="constrained",
    )
    for row, (name, layer) in zip(grid, layers.items(), strict=True):
        kernels = layer.kernel()[:, 0].float()
        strongest = kernels.flatten(1).norm(dim=1).topk(min(KERNELS_PER_STAGE, len(kernels))).indices
        for axes in row:
            axes.axis("off")
        for axes, channel in zip(row, strongest.tolist(), strict=False):
            draw_kernel(axes, layer, kernels[channel].numpy(), channel)
        row[0].set_title(f"{name}, {'x'.join(map(str, layer.dilated_kernel_size))}", fontsize=8, loc="left")
    figure.suptitle("Strongest kernels; each ring is an element, its radius the learned spread", fontsize=9)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def first_layer_of_each_set(network: nn.Module) -> dict[str, dcls.Dcls2d]:
    """Name -> layer, one for each set of shared positions."""
    found: dict[int, tuple[str, dcls.Dcls2d]] = {}
    for name, module in network.named_modules():
        if isinstance(module, dcls.Dcls2d):
            found.setdefault(id(module.positions), (name, module))
    return dict(found.values())


def draw_kernel(axes: plt.Axes, layer: dcls.Dcls2d, kernel: np.ndarray, channel: int) -> None:
    """One dense kernel (rows, columns) with its elements."""
    bound = np.abs(kernel).max()
    rows, columns = layer.dilated_kernel_size
    extent = (-(columns // 2) - 0.5, (columns - 1) // 2 + 0.5, (rows - 1) // 2 + 0.5, -(rows // 2) - 0.5)
    axes.imshow(kernel, cmap="RdBu_r", vmin=-bound, vmax=bound, extent=extent, interpolation="nearest")
    kind = dcls.INTERPOLATIONS[layer.interpolation]
    positions = layer.positions[:, channel, 0]
    spreads = torch.full_like(positions, 0.5) if layer.sigma is None else kind.spread(layer.sigma[:, channel, 0])
    for (y, x), (height, width) in zip(positions.T.tolist(), spreads.T.tolist(), strict=True):
        axes.add_patch(
            matplotlib.patches.Ellipse((x, y), 2 * width, 2 * height, fill=False, color="black", linewidth=0.7)
        )
    axes.text(0.98, 0.02, f"{channel}", transform=axes.transAxes, ha="right", va="bottom", fontsize=6)


if __name__ == "__main__":
    main()
