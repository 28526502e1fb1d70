#!/usr/bin/env python3
"""How the training step of ConvNeXt-T grows with the kernel: this project, dense convolution, reference package.

    python -m benchmarks.kernel_size --out docs/images/kernel_size.png

CPU, float32, batch 8, 224 px, channels last. "dense convolution" is timm's ConvNeXt-T with ``nn.Conv2d`` kernels of
that size. The sizes of this project take turns, in a process each; of the other sides, which take up to a minute, one
step a size is timed, after one that does not count.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path

import matplotlib

from benchmarks.models import DENSE, OURS, REFERENCE, training_step
from benchmarks.timing import seconds_in_processes
from training.run_folder import describe_environment

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt

MODEL, BATCH = "convnext_tiny", 8
SIZES = (7, 17, 23, 33, 51)
SIDES = {OURS: SIZES, DENSE: SIZES, REFERENCE: SIZES[:3]}


def measure(rounds: int) -> dict[str, dict[int, float]]:
    """Return the median seconds of a training step, by side and size."""
    medians = {}
    for side, sizes in SIDES.items():
        makers = {size: partial(training_step, MODEL, side, BATCH, "cpu", size=size) for size in sizes}
        if side == OURS:
            times = seconds_in_processes(makers, rounds)
        else:
            times = {size: seconds_in_processes({size: make}, 1)[size] for size, make in makers.items()}
        medians[side] = {size: statistics.median(seconds) for size, seconds in times.items()}
    return medians


def draw(medians: dict[str, dict[int, float]], out: Path) -> None:
    """Draw seconds over sizes, a line a side."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for (side, points), marker in zip(medians.items(), "os^", strict=True):
        axes.plot(list(points), list(points.values()), marker=marker, label=side)
    axes.set(xlabel="kernel size", ylabel="seconds a training step", yscale="log", xticks=SIZES)
    ticks = (2, 5, 10, 20, 50)
    axes.set_yticks(ticks, labels=map(str, ticks))
    axes.minorticks_off()
    axes.set_title(f"ConvNeXt-T on a CPU, batch {BATCH}")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(out, dpi=150)


def main() -> None:
    """Print the table as Markdown and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    print(f"{describe_environment()}; cpu, float32, batch {BATCH}, median of {options.rounds} rounds\n")
    medians = measure(options.rounds)
    print(f"| k | {' | '.join(SIDES)} |")
    print("|---" * (len(SIDES) + 1) + "|")
    for size in SIZES:
        cells = [f"{medians[side][size]:.2f} s" if size in medians[side] else "-" for side in SIDES]
        print(f"| {size} | {' | '.join(cells)} |")
    growth = [f"{medians[side][SIZES[-1]] / medians[side][SIZES[0]]:.2f}x" for side in (OURS, DENSE)]
    print(f"| {SIZES[-1]} / {SIZES[0]} | {' | '.join(growth)} | - |")
    draw(medians, options.out)


if __name__ == "__main__":
    main()
