"""A run that takes a second, and whether another one ended in the same bits."""

import csv
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from safetensors.torch import load_file

import train

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[1]
EPOCHS = 3
_CONFIG = """
model: {{name: resnet18, drop_path_rate: 0.1, options: {{channels: [8, 8, 8, 8], layers: [1, 1, 1, 1]}}}}
data: {{dir: {data}, image_size: 32, num_workers: {workers}}}
optimizer: {{lr: 1e-3}}
schedule: {{epochs: {epochs}, warmup_epochs: 0}}
training: {{batch_size: 12, micro_batch_size: 6, ema_decay: 0.9, device: cpu}}
checkpoint: {{dir: {runs}, every: 2 updates, resume: auto}}
logging: {{log_interval: 1}}
"""


def write_images(folder: Path) -> Path:
    """Write two splits of three classes, 12 and 4 images each."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name in ("a", "b", "c"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder


def write_config(folder: Path, *, workers: int = 0) -> Path:
    """Write the images and the configuration of a tiny run; its runs go to ``folder/runs``."""
    images = folder / "images"
    if not images.exists():
        write_images(images)
    path = folder / f"tiny{workers}.yaml"
    path.write_text(_CONFIG.format(data=images, workers=workers, epochs=EPOCHS, runs=folder / "runs"))
    return path


def train_forked(arguments: Sequence[str], before: Callable[[], object] | None = None) -> tuple[int, str]:
    """Run train.py in a fork of this process, without the seconds that importing takes.

    Args:
        before: Called in the fork first, to put something in its way.

    Returns:
        The exit status, negative for a signal, and what it printed.
    """
    reading, writing = os.pipe()
    child = start_forked(arguments, writing, before)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        printed = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), printed


def start_forked(arguments: Sequence[str], output: int, before: Callable[[], object] | None = None) -> int:
    """Start train.py in a fork, and return its process; what it prints goes to a descriptor."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    with os.fdopen(output, "w", buffering=1) as printed, redirect_stdout(printed), redirect_stderr(printed):
        try:
            if before is not None:
                before()
            train.main([*arguments])
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
    os._exit(status)


def difference(folder: Path, straight: Path) -> str | None:
    """Say in what a finished run differs from the one that was left alone; None where every bit is the same."""
    if not (folder / "model.safetensors").exists():
        return "it is not finished"
    ours, theirs = load_file(folder / "model.safetensors"), load_file(straight / "model.safetensors")
    if ours.keys() != theirs.keys() or not all(ours[name].equal(theirs[name]) for name in theirs):
        return "its weights differ"
    if _rows(folder) != _rows(straight):
        return "its metrics.csv differs"
    if _logged(folder) != _logged(straight):
        return "its metrics.jsonl differs"
    left = [path.name for path in folder.rglob("*") if path.name.endswith(".dead") or path.name == "lock.json"]
    return f"it leaves {', '.join(left)}" if left else None


def _rows(folder: Path) -> list[dict[str, str]]:
    return [_untimed(row) for row in csv.DictReader(io.StringIO((folder / "metrics.csv").read_text()))]


def _logged(folder: Path) -> list[dict[str, object]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [_untimed(line) for line in lines if line["kind"] != "continued"]


def _untimed(row: dict[str, T]) -> dict[str, T]:
    timed = ("train_images_per_second", "train_waiting", "loader_images_per_second")
    return {key: value for key, value in row.items() if key not in timed}


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so, or the time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
