"""Runs that have ended, as train.py leaves them, without training any."""

import csv
import json
from pathlib import Path

from reproduction.collect import collect
from reproduction.rows import find_rows
from reproduction.runs import RowRun
from reproduction.table import Table
from training.config_file import dump_config, load_config

ROWS = ["studies/fashion_dense", "studies/fashion_gaussian"]


def finished_run(root: Path, row: str, seed: int, top1: float, ema: float | None = None, overrides: list = ()) -> None:
    (found,) = find_rows([row])
    folder = RowRun(found, seed, root).folder
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    config = load_config(found.config_file, [*found.overrides, f"training.seed={seed}", *overrides])
    last = config.schedule.total_epochs - 1
    columns = {
        "epoch": last,
        "train_loss": 1.5,
        "train_images_per_second": 100 + seed,
        "val_top1": top1,
        "val_top5": 99.0,
    }
    if ema is not None:
        columns |= {"ema_top1": ema, "ema_top5": 98.0}
    better = columns | {"val_top1": top1 + 5}  # the last epoch counts, not the best
    with (folder / "metrics.csv").open("w") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows([*({**better, "epoch": epoch} for epoch in range(last)), columns])
    facts = {
        "model": {"parameters": 123_456, "multiply_adds": 7_000_000}, "commit": "c0ffee", "python": "3.12", "cores": 2,
        "gpu": None, "processor": "some", "date": "2026-01-01", "packages": {"torch": "2.14", "timm": "1.0"},
    }  # fmt: skip
    (folder / "environment.json").write_text(json.dumps(facts))
    (folder / "config.yaml").write_text(dump_config(config))


def one_table(root: Path, *rows: str) -> Table:
    (table,) = collect(root, find_rows(rows))
    return table
