#!/usr/bin/env python3
"""Draw the learning rate of every parameter group over a whole run, as training would set it.

scripts/plot_schedule.py configs/imagenet/convnext_tiny_dcls_gaussian.yaml --out docs/images/learning_rates.png
"""

import argparse
from pathlib import Path

import _checkout  # noqa: F401
import matplotlib
import torch
from matplotlib.axes import Axes

from training.cli import cli_errors
from training.config_file import load_config
from training.model import make_model
from training.optimization import make_optimizer, make_scheduler

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=1_281_167, help="training images, by default ImageNet-1k's")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    with cli_errors():
        count = len(options.configs)
        figure, grid = plt.subplots(1, count, squeeze=False, figsize=(5.2 * count, 3.4), layout="constrained")
        for axes, config in zip(grid[0], options.configs, strict=True):
            rates = learning_rates(config, options.images, options.classes)
            draw(axes, config.stem, rates)
        figure.savefig(options.out, dpi=150)
        print(options.out)


def learning_rates(file: Path, images: int, classes: int) -> dict[str, tuple[list[float], list[float]]]:
    """Name of each parameter group -> epochs, as fractions, and learning rates at every update."""
    config = load_config(file)
    updates_per_epoch = images // config.training.batch_size
    with torch.device("meta"):
        model = make_model(config.model, config.model.num_classes or classes)
    optimizer = make_optimizer(config.optimizer, model)
    scheduler = make_scheduler(config.schedule, optimizer, updates_per_epoch)
    curves: dict[str, tuple[list[float], list[float]]] = {g["name"]: ([], []) for g in optimizer.param_groups}
    for update in range(config.schedule.total_epochs * updates_per_epoch):
        for group in optimizer.param_groups:
            at, rates = curves[group["name"]]
            at.append(update / updates_per_epoch)
            rates.append(group["lr"])
        scheduler.step_update(update + 1)
        if (update + 1) % updates_per_epoch == 0:
            scheduler.step((update + 1) // updates_per_epoch)
    return curves


def draw(axes: Axes, title: str, curves: dict[str, tuple[list[float], list[float]]]) -> None:
    """On a logarithmic scale, one curve for all groups that have it."""
    names: dict[tuple[float, ...], list[str]] = {}
    for name, (_, rates) in curves.items():
        names.setdefault(tuple(rates), []).append(name)
    for equal in names.values():
        axes.plot(*curves[equal[0]], label=", ".join(equal))
    axes.set(xlabel="epoch", ylabel="learning rate", title=title, yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
