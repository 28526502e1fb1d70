"""How long training stops for a save, and how long the disk takes in the background.

    python -m benchmarks.saving

prints, for a model with its averages and AdamW's state, what a save costs of the training time when the run is saved as
often as checkpoint.every says by default.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import timm
import torch
from timm.utils import ModelEmaV3

import models  # noqa: F401
from training.checkpoints import snapshot
from training.checkpoints.saving import CheckpointSaver
from training.config import CheckpointConfig, OptimizerConfig, ScheduleConfig
from training.optimization import make_optimizer, make_scheduler
from training.run_folder import describe_environment
from training.state import TrainState


def trained_state(name: str) -> TrainState:
    """Build a model and all that a checkpoint of it holds, after one update with zero gradients."""
    model = timm.create_model(name)
    optimizer = make_optimizer(OptimizerConfig(), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    scheduler = make_scheduler(ScheduleConfig(), optimizer, updates_per_epoch=312)
    return TrainState(model, model, ModelEmaV3(model), optimizer, scheduler, torch.amp.GradScaler("cpu", enabled=False))


def measure(state: TrainState, folder: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Return the seconds that a save stops training, and those until it is on disk."""
    saver, stopped, written = CheckpointSaver(folder), [], []
    for _ in range(repeats):
        start = time.perf_counter()
        saver.save(snapshot.take(state))
        stopped.append(time.perf_counter() - start)
        saver.wait()
        written.append(time.perf_counter() - start)
        state.updates += 1
    return stopped, written


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="convnext_tiny_dcls_gaussian")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stopped, written = measure(trained_state(options.model), Path(folder), options.repeats)
        size = (Path(folder) / "last.pt").stat().st_size
    interval = CheckpointConfig().interval[1]
    assert interval is not None
    stop = statistics.median(stopped)
    print(f"{describe_environment()}\n")
    print(f"{options.model}: {size / 1e6:.0f} MB a save; medians of {options.repeats}")
    print(f"training stops for {stop:.3f} s, the disk takes {statistics.median(written):.2f} s in the background")
    print(f"saved every {interval:.0f} s: {100 * stop / interval:.3f} % of the training time")


if __name__ == "__main__":
    main()
