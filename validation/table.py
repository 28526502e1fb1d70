"""Figures of evaluated models for people and programs."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from training.atomic_io import write_atomic

Figures = dict[str, Any]


def readable(figures: Figures) -> dict[str, str]:
    """Label -> text, with units."""
    size = figures["image_size"]
    text = {
        "model": figures["model"],
        "weights": figures["weights"],
        "top-1": f"{figures['top1']:.2f} %",
        "top-5": f"{figures['top5']:.2f} %",
        "loss": f"{figures['loss']:.4f}",
        "images": f"{figures['num_images']} of {size}x{size} pixels, {figures['num_classes']} classes",
        "parameters": f"{figures['parameters'] / 1e6:.4g} M",
        "multiply-adds": f"{figures['multiply_adds'] / 1e9:.3g} G" if figures["multiply_adds"] else "-",
        "images/s": f"{figures['images_per_second']:.0f}",
    }
    if "real_top1" in figures:
        text |= {"ReaL top-1": f"{figures['real_top1']:.2f} %", "ReaL top-5": f"{figures['real_top5']:.2f} %"}
    return text


def markdown(results: Sequence[Figures]) -> str:
    """One line for each model."""
    return tabulate(
        [readable(figures) for figures in results], headers="keys", tablefmt="github", disable_numparse=True
    )


def write_results(path: Path, results: Sequence[Figures]) -> None:
    """Write all figures in the format that the file's suffix names; what was there stays until they are written.

    Raises:
        UserError: the disk refuses.
    """
    text = FORMATS[path.suffix](results)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(text.encode()))


def _csv(results: Sequence[Figures]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(results[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    return text.getvalue()


FORMATS = {
    ".md": lambda results: markdown(results) + "\n",
    ".csv": _csv,
    ".json": lambda results: json.dumps(results, indent=1) + "\n",
}
"""Suffix of a file of results -> how it is written."""
