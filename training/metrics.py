"""What a run tells: the terminal, metrics.csv, metrics.jsonl, positions and Weights & Biases."""

import csv
import io
import sys
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.atomic_io import write_text_atomic
from training.config import Config
from training.data.loaders import cores_per_process, loader_processes
from training.data.wait_clock import WORTH_A_WARNING, advice
from training.json_lines import JsonLines
from training.loop import UpdateSummary
from training.position_history import PositionHistory
from training.position_warnings import PositionWarnings
from training.processes.distributed import DistributedContext
from training.run_folder import METRICS
from training.state import TrainState


def counted_weights(metrics: Container[str]) -> str:
    """Return the prefix of what tables report: "ema", the averaged weights, where a run has them, else "val"."""
    return "ema" if "ema_top1" in metrics else "val"


def better_weights(row: Mapping[str, float]) -> str:
    """Return the prefix of the higher top-1 of an epoch: "val", the weights, or "ema", their average."""
    return "ema" if row.get("ema_top1", -1.0) >= row["val_top1"] else "val"


def read_metrics(file: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics.csv; errors are those of ``iterate_metrics``."""
    return list(iterate_metrics(file))


def iterate_metrics(file: Path) -> Iterator[dict[str, float]]:
    """Read a metrics.csv row by row.

    A cell is empty where a value was not measured, or the run had another column before it was continued.

    Raises:
        OSError: the file cannot be read.
        ValueError: the next row is damaged.
    """
    # What is no text cannot be a number either, so replacing it damages the rows that hold it, and no others.
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        try:
            for row in csv.DictReader(lines):
                if None in row or None in row.values():
                    raise ValueError("a line is longer or shorter than the first")
                yield {key: float(value) for key, value in row.items() if value}
        except csv.Error as error:
            raise ValueError(str(error)) from None


class MetricsLogger:
    """Reports of the first process; the others stay silent.

    metrics.csv has one row an epoch; metrics.jsonl has these and one line every ``logging.log_interval`` updates; the
    positions of DCLS layers are beside them, see ``training.position_history``.

    Args:
        folder: The run's folder.
        config: The whole configuration, for Weights & Biases.
        updates_per_epoch: Length of the progress bar.
        state: Where the run begins or continues. What a run that was cut off had written after that is removed.
    """

    def __init__(
        self, folder: Path, config: Config, distributed: DistributedContext, updates_per_epoch: int, state: TrainState
    ) -> None:
        self.is_main = distributed.is_main
        self.log_interval = config.logging.log_interval
        self.num_workers, self._has_advised = loader_processes(config.data), False
        self.csv_file = folder / METRICS
        self.lines = JsonLines(folder / "metrics.jsonl", config.logging.log_interval, state)
        self.bar = tqdm(total=updates_per_epoch, unit="update", disable=not (self.is_main and sys.stderr.isatty()))
        self.positions = PositionHistory(folder, config.schedule.total_epochs)
        self.position_warnings = PositionWarnings(config, folder)
        self.wandb = None
        if self.is_main:
            if state.history or self.csv_file.exists():
                self._write_table(state.history)
            if damage := self.lines.begin():
                self.say(f"warning: {damage}")
            self.positions.begin(state)
            self.position_warnings.begin(state)
            if config.logging.wandb != "off":
                from training.wandb_logger import WandbLogger  # slow to import, and not needed by most

                self.wandb = WandbLogger(folder, config)

    def continued(self, state: TrainState, changes: dict[str, list[Any]]) -> None:
        """After a restart: where it goes on, and which keys have other values than before."""
        if not self.is_main:
            return
        self.lines.append({"kind": "continued", "epoch": state.epoch, "update": state.updates, "changes": changes})
        within = f", after {state.progress.updates} of its updates" if state.progress else ""
        self.say(f"continuing with epoch {state.epoch}{within}")
        for key, (before, now) in changes.items():
            self.say(f"  changed: {key} from {before} to {now}")

    def begin_epoch(self, state: TrainState) -> None:
        """Restart the progress bar for an epoch."""
        self.bar.reset()
        self.bar.update(state.progress.updates if state.progress else 0)
        self.bar.set_description(f"epoch {state.epoch}")

    def update(self, step: UpdateSummary) -> None:
        """After an optimizer step."""
        self.bar.update()
        if self.is_main and step.update % self.log_interval == 0:
            self.lines.append({"kind": "update", **asdict(step)})
            if self.wandb is not None:
                self.wandb.update(step)
            if self.bar.disable:
                self.say(f"epoch {step.epoch}  update {step.update}  loss {step.loss:.4f}  lr {step.learning_rate:.3g}")

    def epoch(self, state: TrainState) -> None:
        """After an epoch and its evaluation: report the last row of the run's history."""
        if not self.is_main:
            return
        row = state.history[-1]
        self._write_table(state.history)
        self.lines.append({"kind": "epoch", **row})
        self.positions.epoch(state)
        if self.wandb is not None:
            self.wandb.epoch(row, state.model, state.updates)
        accuracies = "  ".join(f"{key} {row[key]:.2f} %" for key in ("val_top1", "ema_top1") if key in row)
        speed = f"{row['train_images_per_second']:.0f} images/s  waiting {row['train_waiting']:.0%}"
        if row.get("loader_images_per_second"):
            speed += f" (loader: {row['loader_images_per_second']:.0f} images/s)"
        self.say(f"epoch {row['epoch']}  train_loss {row['train_loss']:.4f}  {accuracies}  {speed}")
        if row["train_waiting"] > WORTH_A_WARNING and not self._has_advised:
            self._has_advised = True
            self.say(f"warning: {advice(row['train_waiting'], self.num_workers, cores_per_process())}")
        for warning in self.position_warnings.epoch(state):
            self.say(f"warning: {warning}")

    def say(self, text: str) -> None:
        """Print a line, above the progress bar where there is one."""
        if self.is_main:
            self.bar.write(text, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """End the progress bar and finish the Weights & Biases run."""
        self.bar.close()
        if self.wandb is not None:
            self.wandb.finish()

    def _write_table(self, history: list[dict[str, Any]]) -> None:
        """Write metrics.csv: one table, also where a run had other columns before it was continued."""
        columns = list(dict.fromkeys(column for row in history for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text_atomic(self.csv_file, text.getvalue())
