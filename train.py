#!/usr/bin/env python3
"""Train a model on images: alone, or in several processes under torchrun."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from timm.utils import distribute_bn

from dcls.errors import UserError
from evaluation.evaluate import evaluate
from training.checkpoints import snapshot
from training.checkpoints.checkpoint import save_weights
from training.checkpoints.pauses import SavePauses
from training.checkpoints.resume import diff_config, read_first_good
from training.cli import cli_errors
from training.config import Config, TrainingConfig, describe_keys
from training.config_file import load_config
from training.data.batches import plan_batches
from training.data.check_data import check_data
from training.data.labels import check_same_classes
from training.data.loaders import evaluation_loader, training_loader
from training.data.splits import open_splits
from training.extras import require_package
from training.flops import describe_size
from training.loop import NonFiniteLossError, train_epoch
from training.memory import batch_that_fits
from training.metrics import MetricsLogger, better_weights
from training.model import choose_preprocessing, make_model
from training.objective import make_objective
from training.processes.distributed import Ballot, DistributedContext, destroy_distributed, init_distributed
from training.processes.parent_death import end_with_launcher
from training.processes.stop_signals import StopRequest, StopSignals
from training.run import TrainingRun
from training.run_folder import BEST, LAST, SAVES, WEIGHTS, resolve_run_dir, write_run_facts
from training.run_lock import run_lock
from training.seeding import seed_generators
from training.state import TrainState, make_state
from training.trial import try_out


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Sections and keys, with their defaults:\n" + describe_keys(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, type=Path, help="YAML file, e.g. configs/quickstart.yaml")
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="read every image of both splits once, on all cores, list the broken ones, and end",
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="keys in place of the file's")
    options = parser.parse_args(arguments)
    with cli_errors("; continue with checkpoint.resume=auto"), StopSignals().watched() as signals:
        config = load_config(options.config, options.overrides)
        if options.check_data:
            check_data(config)
            return
        folder, checkpoints = resolve_run_dir(config.checkpoint, options.config)
        distributed = init_distributed(config.training.device, config.training.timeout_minutes)
        with run_lock(folder) if distributed.is_main else nullcontext():
            run = prepare(config, folder, distributed, signals)
            if checkpoints:
                resume(run, checkpoints)
            distributed.check_equal(run.state.updates, folder)
            with signals.deferred():
                end_with_launcher(signal.SIGTERM)
                fit(run)
            destroy_distributed(distributed)
            if config.logging.report and distributed.is_main:
                report(folder)


def prepare(config: Config, folder: Path, distributed: DistributedContext, signals: StopSignals) -> TrainingRun:
    """Build data, model, objective and optimizer, in the order in which they depend on each other.

    Raises:
        UserError: something in the configuration, the data or the machine is wrong.
    """
    training = config.training
    if config.logging.wandb != "off":
        require_package("wandb", "wandb", "logging.wandb")
    if config.logging.report:
        require_package("plotly", "report", "logging.report")
    choose_algorithms(training)
    try_out(config, distributed.device)
    seed_generators(training.seed)
    batches = plan_batches(training.batch_size, training.micro_batch_size, distributed.world_size)
    splits = open_splits(config, batches.micro_batch_size, distributed)
    model = make_model(config.model, splits.num_classes, print if distributed.is_main else lambda note: None)
    preprocessing = choose_preprocessing(config.data, model)
    train_loader = training_loader(
        splits.train, config.data, config.augmentation, preprocessing, batches, distributed, training.seed
    )
    val_loader = evaluation_loader(splits.val, config.data, preprocessing, distributed)
    objective = make_objective(config, model, splits.num_classes, batches, distributed)
    state = make_state(config, model, objective, distributed, len(train_loader) // batches.accumulation)
    return TrainingRun(
        config, folder, distributed, signals, train_loader, val_loader, objective, state, preprocessing, splits.classes
    )


def resume(run: TrainingRun, checkpoints: Sequence[Path]) -> None:
    """Continue from the first checkpoint that is not damaged; one of another folder starts a new record of the best.

    Raises:
        UserError: none can be read, or it belongs to another run, model or optimizer.
    """
    content, checkpoint, run.damaged = read_first_good(checkpoints)
    run.changes = diff_config(content["config"], run.config, checkpoint)
    check_same_classes(content.get("description", {}).get("classes"), run.classes, checkpoint)
    snapshot.restore(run.state, content, checkpoint, run.distributed)
    is_another = checkpoint.resolve().parent not in (run.folder.resolve(), (run.folder / SAVES).resolve())
    if run.state.epoch > run.epochs or (is_another and run.state.epoch == run.epochs):
        raise UserError(
            f"{checkpoint} has its {run.state.epoch} epochs already",
            "raise schedule.epochs",
            key="checkpoint.resume",
            on_every_rank=True,
        )
    if is_another:
        run.state.best_top1 = TrainState.best_top1
        run.state.log_size = TrainState.log_size  # the saved size is of the other folder's log


def fit(run: TrainingRun) -> None:
    """Train, evaluate and save epoch by epoch, then write the final weights.

    Raises:
        UserError: the loss is not finite, an image is broken, the disk is full.
        StopRequest: a signal asked for it; all is saved.
    """
    state, distributed = run.state, run.distributed
    if state.epoch >= run.epochs and (run.folder / WEIGHTS).is_file():
        if distributed.is_main:  # its records stay as they are
            print(f"finished already, after {state.epoch} epochs: {outcome(run)}")
        return
    metrics = begin_records(run)
    ballot = Ballot(distributed)
    pauses = SavePauses(
        *run.config.checkpoint.interval,
        run.signals,
        ballot,
        save=lambda: save(run),
        stop=lambda number: stop(run, number),
    )
    try:
        while state.epoch < run.epochs:
            train_one(run, metrics, pauses)
        run.saver.wait()
        if distributed.is_main:
            averaged = state.ema.module if state.ema is not None else state.model
            save_weights(run.folder / WEIGHTS, averaged, run.description)
            metrics.say(f"finished: {outcome(run)}")
    except RuntimeError:
        if run.signals.received is None:
            raise
        raise leave(run, run.signals.received) from None  # another process has answered the signal first
    finally:
        metrics.close()
    ballot.close()


def begin_records(run: TrainingRun) -> MetricsLogger:
    """Write what is run and on what, and say where it continues."""
    state = run.state
    if run.distributed.is_main:
        size = describe_size(state.model, run.preprocessing.input_size)
        write_run_facts(run.folder, run.config, run.distributed, size)
    updates_per_epoch = len(run.train_loader) // run.objective.accumulation
    metrics = MetricsLogger(run.folder, run.config, run.distributed, updates_per_epoch, state)
    for problem in run.damaged:
        metrics.say(f"warning: {problem}")
    if state.updates > 0:
        metrics.continued(state, run.changes)
    return metrics


def outcome(run: TrainingRun) -> str:
    """Say in one line what a finished run leaves."""
    kind = "weights" if run.state.ema is None else "averaged weights"
    rows = run.state.history
    best = next((row for row in rows if row[f"{better_weights(row)}_top1"] == run.state.best_top1), None)
    of_best = f" (their average has {best['ema_top1']:.2f} %)" if best is not None and has_worse_average(best) else ""
    of_last = ""
    if rows and has_worse_average(rows[-1]):
        of_last = f" ({rows[-1]['ema_top1']:.2f} %, without averaging {rows[-1]['val_top1']:.2f} %)"
    return (
        f"best top-1 {run.state.best_top1:.2f} % in {run.folder / BEST}{of_best}, the last epoch's {kind}{of_last} in "
        f"{run.folder / WEIGHTS}"
    )


def has_worse_average(row: Mapping[str, float]) -> bool:
    """Whether the weights of an epoch were better than their average."""
    return "ema_top1" in row and better_weights(row) == "val"


def train_one(run: TrainingRun, metrics: MetricsLogger, pauses: SavePauses) -> None:
    """Go through an epoch, or the rest of one: train, evaluate the weights and their average, save, report."""
    state = run.state
    metrics.begin_epoch(state)
    try:
        size = run.train_loader.batch_size or 1
        with batch_that_fits("training.micro_batch_size", size, "set training.gradient_checkpointing=true"):
            summary = train_epoch(state, run.train_loader, run.objective, run.distributed, metrics.update, pauses)
        assert state.progress is not None
        row: dict[str, Any] = {
            "epoch": state.epoch,
            "learning_rate": state.progress.learning_rate,
            "updates": state.updates,
            "train_loss": summary.loss,
            "train_images_per_second": summary.images_per_second,
            "train_waiting": summary.waiting,
            "loader_images_per_second": summary.loader_images_per_second,
            **({"train_replaced": summary.replaced} if run.config.data.on_error == "skip" else {}),
            **validation_scores(run),
        }
    except NonFiniteLossError as error:
        last = run.folder / LAST
        fix = f"{error.fix}. Last good checkpoint: {last if last.exists() else 'none yet'}"
        raise error.replace(fix=fix) from None
    state.complete_epoch(row)
    metrics.epoch(state)  # first: a row whose checkpoint is missing is dropped on resuming
    top1 = row[f"{better_weights(row)}_top1"]
    is_best = top1 > state.best_top1
    state.best_top1 = max(top1, state.best_top1)
    save(run, is_best=is_best)


def validation_scores(run: TrainingRun) -> dict[str, float]:
    """Return accuracies and loss of the weights (val_...) and of their average (ema_...).

    Raises:
        NonFiniteLossError: one of the losses is infinite or not a number.
        StopRequest: a signal asked for it; the epoch's training is saved.
    """
    result: dict[str, float] = {}
    parts = snapshot.gather_parts(run.state, run.distributed)
    if run.distributed.world_size > 1:
        save(run, parts)  # each process stops by itself while it evaluates, and another one may be first

    def stop_if_asked() -> None:
        run.distributed.show_progress()
        if run.signals.received is not None:
            stop(run, run.signals.received, parts)

    for prefix, model in (("val", run.state.model), ("ema", run.state.ema and run.state.ema.module)):
        if model is None:
            continue
        if run.distributed.world_size > 1:
            distribute_bn(model, run.distributed.world_size, reduce=True)  # or each process would evaluate another one
        with batch_that_fits("data.val_batch_size", run.config.data.val_batch_size, "take a smaller data.image_size"):
            scores = evaluate(model, run.val_loader, run.distributed, run.objective.precision, on_batch=stop_if_asked)
        if not math.isfinite(scores.loss):
            raise NonFiniteLossError(f"the validation loss is {scores.loss} after epoch {run.state.epoch}")
        result |= {f"{prefix}_{key}": getattr(scores, key) for key in ("top1", "top5", "loss")}
    return result


def save(run: TrainingRun, parts: list[dict[str, Any]] | None = None, *, is_best: bool = False) -> None:
    """Save the run as it is, within an epoch or between two.

    Args:
        parts: Within an epoch, what differs between the processes; gathered here if it is not given.
        is_best: Its weights, or their average, are the best so far.
    """
    if run.state.progress is not None and parts is None:
        parts = snapshot.gather_parts(run.state, run.distributed)
    if run.distributed.is_main:
        facts = {"description": run.description.to_dict(), "config": run.config.model_dump()}
        run.saver.save(facts | snapshot.take(run.state, parts), is_best=is_best)


def stop(run: TrainingRun, signal_number: int, parts: list[dict[str, Any]] | None = None) -> NoReturn:
    """Save the run within an epoch, and end it.

    Raises:
        StopRequest: always.
    """
    save(run, parts)
    raise leave(run, signal_number)


def leave(run: TrainingRun, signal_number: int) -> StopRequest:
    """Wait until all is on disk, and return what to raise then."""
    run.saver.wait()
    run.distributed.leave_after_main()
    return StopRequest(signal_number, f"after update {run.state.updates}, in epoch {run.state.epoch}, which is saved")


def report(folder: Path) -> None:
    """Write the report of a finished run into its folder, or say why there is none: the run is whole without it."""
    from analysis.report import write_report  # needs packages that other runs do not

    try:
        print(f"report: {write_report([folder])}")
    except UserError as error:
        print(f"warning: no report: {error.problem}", file=sys.stderr)


def choose_algorithms(training: TrainingConfig) -> None:
    """Deterministic ones where they are asked for, else the fastest."""
    torch.use_deterministic_algorithms(training.deterministic)
    torch.backends.cudnn.benchmark = not training.deterministic
    if training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it


if __name__ == "__main__":
    main()
