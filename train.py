#!/usr/bin/env python3
"""Train a model on images: alone, or in several processes under torchrun."""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3, distribute_bn
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from dcls.checkpoints.description import ModelDescription, Preprocessing
from dcls.errors import UserError
from evaluation.evaluate import evaluate
from training.checkpoint import read_checkpoint, save_checkpoint, save_weights
from training.cli import cli_errors
from training.config import Config, TrainingConfig, describe_keys
from training.config_file import load_config
from training.data import open_splits
from training.distributed import DistributedContext, destroy_distributed, init_distributed
from training.extras import require_package
from training.flops import describe_size
from training.loaders import evaluation_loader, plan_batches, training_loader
from training.loop import NonFiniteLossError, TrainState, train_epoch
from training.metrics import MetricsLogger, counted_weights
from training.model import choose_preprocessing, describe_model, make_model
from training.objective import Objective, make_objective
from training.optimization import make_optimizer, make_scheduler
from training.resume import diff_config
from training.run_folder import BEST, LAST, WEIGHTS, resolve_run_dir, write_run_facts
from training.seeding import seed_generators


@dataclass
class TrainingRun:
    """All parts of a run, ready to start."""

    config: Config
    folder: Path
    distributed: DistributedContext
    train_loader: DataLoader
    val_loader: DataLoader
    objective: Objective
    state: TrainState
    preprocessing: Preprocessing
    changes: dict[str, list[Any]] = field(default_factory=dict)  # since the checkpoint that the run continues from

    @property
    def epochs(self) -> int:
        """Length of the run."""
        return self.config.schedule.total_epochs

    @property
    def description(self) -> ModelDescription:
        """What its checkpoints say of the model."""
        return describe_model(self.config.model, self.objective.num_classes, self.preprocessing)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Sections and keys, with their defaults:\n" + describe_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, type=Path, help="YAML file, e.g. configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="win over the file")
    options = parser.parse_args(arguments)
    with cli_errors("; continue with checkpoint.resume=auto, from the end of the last epoch"):
        config = load_config(options.config, options.overrides)
        folder, resume_from = resolve_run_dir(config.checkpoint, options.config)
        distributed = init_distributed(config.training.device)
        run = prepare(config, folder, distributed)
        if resume_from is not None:
            resume(run, resume_from)
        check_ranks_agree(run)
        fit(run)
        destroy_distributed()


def prepare(config: Config, folder: Path, distributed: DistributedContext) -> TrainingRun:
    """Build data, model, objective and optimizer, in the order in which they depend on each other.

    Raises:
        UserError: something in the configuration, the data or the machine is wrong.
    """
    training = config.training
    if config.logging.wandb != "off":
        require_package("wandb", "wandb", "logging.wandb")
    choose_algorithms(training)
    seed_generators(training.seed)
    batches = plan_batches(training.batch_size, training.micro_batch_size, distributed.world_size)
    splits = open_splits(config, batches.per_process, distributed)
    model = make_model(config.model, splits.num_classes)
    preprocessing = choose_preprocessing(config.data, model)
    train_loader = training_loader(
        splits.train, config.data, config.augmentation, preprocessing, batches, distributed, training.seed
    )
    val_loader = evaluation_loader(splits.val, config.data, preprocessing, distributed)
    objective = make_objective(config, model, splits.num_classes, batches, distributed)
    state = make_state(config, model, objective, distributed, len(train_loader) // batches.accumulation)
    return TrainingRun(config, folder, distributed, train_loader, val_loader, objective, state, preprocessing)


def make_state(
    config: Config, model: nn.Module, objective: Objective, distributed: DistributedContext, updates_per_epoch: int
) -> TrainState:
    """Bring the model to its device, and build its averaged weights, optimizer and schedule."""
    training, device = config.training, distributed.device
    model.to(device=device, memory_format=objective.precision.memory_format)
    if training.gradient_checkpointing:
        model.set_grad_checkpointing()
    optimizer = make_optimizer(config.optimizer, model)
    scheduler = make_scheduler(config.schedule, optimizer, updates_per_epoch)
    ema = None if training.ema_decay is None else ModelEmaV3(model, decay=training.ema_decay)
    if training.compile:
        model.compile(dynamic=False)  # images have one size; only the last batch of an evaluation is smaller
    ddp_model = model
    if distributed.world_size > 1:
        ddp_model = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
    scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "float16")
    return TrainState(model, ddp_model, ema, optimizer, scheduler, scaler)


def resume(run: TrainingRun, checkpoint: Path) -> None:
    """Continue from a checkpoint; one of another folder starts a new record of the best there.

    Raises:
        UserError: the file cannot be read, or belongs to another run, model or optimizer.
    """
    content = read_checkpoint(checkpoint)
    run.changes = diff_config(content["config"], run.config, checkpoint)
    run.state.load(content, checkpoint)
    if checkpoint.parent.resolve() != run.folder.resolve():
        run.state.best_top1 = TrainState.best_top1
        if run.state.epoch >= run.epochs:
            raise UserError(
                f"{checkpoint} has its {run.epochs} epochs already",
                "raise schedule.epochs",
                key="checkpoint.resume",
                on_every_rank=True,
            )


def check_ranks_agree(run: TrainingRun) -> None:
    """Refuse to train when processes found different checkpoints.

    Raises:
        UserError: the run's folder is not the same for all processes.
    """
    updates = torch.tensor([run.state.updates, run.state.updates**2], dtype=torch.float64)
    total, squares = run.distributed.sum(updates).tolist()
    if squares * run.distributed.world_size != total**2:
        raise UserError(
            f"not all processes found the same checkpoint in {run.folder}",
            "it must be on a disk that all nodes share",
            key="checkpoint.dir",
        )


def fit(run: TrainingRun) -> None:
    """Train, evaluate and save epoch by epoch, then write the final weights.

    Raises:
        UserError: the loss is not finite, an image is broken, the disk is full.
    """
    state, distributed = run.state, run.distributed
    if state.epoch >= run.epochs and (run.folder / WEIGHTS).is_file():
        if distributed.is_main:  # its records stay as they are
            print(f"finished already, after {state.epoch} epochs: {outcome(run)}")
        return
    if distributed.is_main:
        size = describe_size(state.model, run.preprocessing.input_size)
        write_run_facts(run.folder, run.config, distributed, size)
    updates_per_epoch = len(run.train_loader) // run.objective.accumulation
    metrics = MetricsLogger(run.folder, run.config, distributed, updates_per_epoch, state.epoch)
    if state.epoch > 0:
        metrics.continued(state.epoch, run.changes)
    try:
        while state.epoch < run.epochs:
            train_one(run, metrics)
        if distributed.is_main:
            averaged = state.ema.module if state.ema is not None else state.model
            save_weights(run.folder / WEIGHTS, averaged, run.description)
            metrics.say(f"finished: {outcome(run)}")
    finally:
        metrics.close()


def outcome(run: TrainingRun) -> str:
    """Say in one line what a finished run leaves."""
    kind = "weights" if run.state.ema is None else "averaged weights"
    return (
        f"best top-1 {run.state.best_top1:.2f} % in {run.folder / BEST}, the last epoch's {kind} in "
        f"{run.folder / WEIGHTS}"
    )


def train_one(run: TrainingRun, metrics: MetricsLogger) -> None:
    """One epoch: train, evaluate the weights and their average, save, metrics."""
    state, epoch = run.state, run.state.epoch
    metrics.begin_epoch(epoch)
    for shuffled in (run.train_loader.sampler, run.train_loader.dataset):  # iterable data sets shuffle by themselves
        if hasattr(shuffled, "set_epoch"):
            shuffled.set_epoch(epoch)
    row: dict[str, Any] = {"epoch": epoch, "learning_rate": state.learning_rate}
    try:
        summary = train_epoch(state, run.train_loader, run.objective, run.distributed, metrics.update)
        row |= {
            "updates": state.updates,
            "train_loss": summary.loss,
            "train_images_per_second": summary.images_per_second,
            **validation_scores(run),
        }
    except NonFiniteLossError as error:
        last = run.folder / LAST
        fix = f"{error.fix}. Last good checkpoint: {last if last.exists() else 'none yet'}"
        raise error.replace(fix=fix) from None
    metrics.epoch(row, state.model, state.updates)  # first: a row whose checkpoint is missing is dropped on resuming
    save(run, row)


def validation_scores(run: TrainingRun) -> dict[str, float]:
    """Accuracies and loss of the weights (val_...) and of their average (ema_...).

    Raises:
        NonFiniteLossError: one of the losses is infinite or not a number.
    """
    result: dict[str, float] = {}
    for prefix, model in (("val", run.state.model), ("ema", run.state.ema and run.state.ema.module)):
        if model is None:
            continue
        if run.distributed.world_size > 1:
            distribute_bn(model, run.distributed.world_size, reduce=True)  # or each process would evaluate another one
        scores = evaluate(model, run.val_loader, run.distributed, run.objective.precision)
        if not math.isfinite(scores.loss):
            raise NonFiniteLossError(f"the validation loss is {scores.loss} after epoch {run.state.epoch - 1}")
        result |= {f"{prefix}_{key}": getattr(scores, key) for key in ("top1", "top5", "loss")}
    return result


def save(run: TrainingRun, row: dict[str, Any]) -> None:
    """Write last.pt, and before it best.pt if the (averaged) weights are the best so far."""
    state = run.state
    top1 = row[f"{counted_weights(row)}_top1"]
    is_best = top1 > state.best_top1
    state.best_top1 = max(top1, state.best_top1)
    if not run.distributed.is_main:
        return
    facts = {"description": run.description.to_dict(), "config": run.config.model_dump(), "metrics": row}
    content = facts | state.content()
    if is_best:  # first: a run cut off in between repeats the epoch, and finds it the best again
        save_checkpoint(run.folder / BEST, content)
    save_checkpoint(run.folder / LAST, content)


def choose_algorithms(training: TrainingConfig) -> None:
    """Deterministic ones where they are asked for, else the fastest."""
    torch.use_deterministic_algorithms(training.deterministic)
    torch.backends.cudnn.benchmark = not training.deterministic
    if training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it


if __name__ == "__main__":
    main()
