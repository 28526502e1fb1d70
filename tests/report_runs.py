"""Runs as train.py leaves them, without training any: what a report is made of."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from conftest import write_image_folder
from small_model import DESCRIPTION

import dcls
from models.building import create_model
from training.checkpoints.checkpoint import save_weights
from training.config_file import dump_config, load_config
from training.position_history import PositionHistory

DCLS, DENSE = "convnext_atto_dcls_gaussian", "convnext_atto"
SCHEDULE = ["schedule.warmup_epochs=0"]
SIZES = dict(dims=[8, 8, 16, 16], depths=[1, 1, 2, 1])
FACTS = {
    "date": "2026-01-01T00:00:00+00:00", "commit": "c0ffee" * 6, "python": "3.12", "cores": 2, "gpu": None,
    "processor": "some processor", "processes": 1, "system": "Linux", "packages": {"torch": "2.14", "timm": "1.0"},
    "model": {"parameters": 123_456, "multiply_adds": 7_000_000},
}  # fmt: skip


def report_run(root: Path, name: str, *, model: str = DCLS, seed: int = 0, epochs: int = 3, overrides=()) -> Path:
    """A finished run of a small model with random weights, whose elements moved half a pixel an epoch, down."""
    folder, images = root / name, root / "images"
    folder.mkdir(parents=True)
    if not images.is_dir():
        write_image_folder(images)
    kernels = dict(dilated_kernel_size=11, kernel_count=4) if model == DCLS else {}
    file = root / "run.yaml"
    file.write_text(f"model: {{name: {model}, options: {json.dumps(SIZES | kernels)}}}\ndata: {{dir: {images}}}\n")
    config = load_config(
        file, [f"training.seed={seed}", "training.batch_size=12", f"schedule.epochs={epochs}", *SCHEDULE, *overrides]
    )
    (folder / "config.yaml").write_text(dump_config(config))
    (folder / "environment.json").write_text(json.dumps(FACTS))
    write_metrics(folder, seed, epochs)
    torch.manual_seed(seed)
    built = create_model(model, num_classes=3, **SIZES, **kernels)
    description = replace(DESCRIPTION, name=model, options={**SIZES, **kernels})
    move_elements(folder, built, epochs)
    save_weights(folder / "model.safetensors", built, description)
    return folder


def write_metrics(folder: Path, seed: int, epochs: int) -> None:
    rows = [
        {
            "epoch": epoch, "learning_rate": 1e-3, "updates": 3 * (epoch + 1), "train_loss": 2.0 - 0.1 * epoch,
            "train_images_per_second": 100.0 + seed, "train_waiting": 0.25, "val_top1": 50.0 + 10 * epoch + seed,
            "val_top5": 99.0, "val_loss": 1.5 - 0.1 * epoch,
        }
        for epoch in range(epochs)
    ]  # fmt: skip
    with (folder / "metrics.csv").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@torch.no_grad()
def move_elements(folder: Path, model: torch.nn.Module, epochs: int) -> None:
    history = PositionHistory(folder, epochs)
    for epoch in range(epochs + 1):
        for owner in dcls.position_owners(model).values():
            owner.positions[0].add_(0.5 if epoch else 0.0)
        history.epoch(SimpleNamespace(model=model, epoch=epoch))


def drawn(figure, name: str) -> np.ndarray:
    """The y values of the trace of this name."""
    (found,) = [trace for trace in figure.data if trace.name == name]
    return np.array(found.y)
