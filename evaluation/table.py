"""Metrics of evaluated models for people and programs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.markdown import csv_table, markdown_table
from training.atomic_io import write_atomic

Metrics = dict[str, Any]


def readable(metrics: Metrics) -> dict[str, str]:
    """Label -> text, with units."""
    return {
        "model": metrics["model"],
        "weights": metrics["weights"],
        **(_of_clips(metrics) if "num_clips" in metrics else _of_images(metrics)),
    }


def _of_images(metrics: Metrics) -> dict[str, str]:
    size = metrics["image_size"]
    height, width = size if isinstance(size, list) else (size, size)
    text = {
        "top-1": f"{metrics['top1']:.2f} %",
        "top-5": f"{metrics['top5']:.2f} %",
        "loss": f"{metrics['loss']:.4f}",
        "images": f"{metrics['num_images']} of {height}x{width} pixels, {metrics['num_classes']} classes",
        **_size(metrics),
        "images/s": f"{metrics['images_per_second']:.0f}",
    }
    if "real_top1" in metrics:
        text |= {"ReaL top-1": f"{metrics['real_top1']:.2f} %", "ReaL top-5": f"{metrics['real_top5']:.2f} %"}
    return text


def _of_clips(metrics: Metrics) -> dict[str, str]:
    mel_bands, frames = metrics["input_size"]
    count = metrics["num_classes"] - metrics["num_scored_classes"]
    unheard = f", {count} of them in no clip" if count else ""
    return {
        "mAP": f"{metrics['mean_average_precision']:.2f} %",
        "AUC": f"{metrics['auc']:.4f}" if metrics["auc"] is not None else "-",
        "d-prime": f"{metrics['d_prime']:.3f}" if metrics["d_prime"] is not None else "-",
        "loss": f"{metrics['loss']:.4f}",
        "clips": f"{metrics['num_clips']} of {mel_bands}x{frames}, {metrics['num_padded']} padded, "
        f"{metrics['num_cropped']} cropped",
        "classes": f"{metrics['num_classes']}{unheard}",
        **_size(metrics),
        "clips/s": f"{metrics['clips_per_second']:.1f}",
    }


def _size(metrics: Metrics) -> dict[str, str]:
    return {
        "parameters": f"{metrics['parameters'] / 1e6:.4g} M",
        "multiply-adds": f"{metrics['multiply_adds'] / 1e9:.3g} G" if metrics["multiply_adds"] else "-",
    }


def markdown(results: Sequence[Metrics]) -> str:
    """One line for each model."""
    return markdown_table([readable(metrics) for metrics in results])


def write_results(path: Path, results: Sequence[Metrics]) -> None:
    """Write all metrics in the format that the file's suffix names; what was there stays until they are written.

    Raises:
        UserError: the disk refuses.
    """
    text = FORMATS[path.suffix](results)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(text.encode()))


FORMATS = {
    ".md": lambda results: markdown(results) + "\n",
    ".csv": csv_table,
    ".json": lambda results: json.dumps(results, indent=1) + "\n",
}
"""Suffix of a file of results -> how it is written."""
