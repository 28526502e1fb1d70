"""One epoch of training: forward, backward, accumulate, update."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models import model_parameters
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dcls.checkpoints.loading import load_exactly
from dcls.errors import UserError
from training.distributed import DistributedContext
from training.objective import Objective
from training.seeding import seed_generators

Batch = tuple[Tensor, Tensor]


class NonFiniteLossError(UserError):
    """The loss is infinite or not a number."""

    def __init__(
        self,
        problem: str,
        fix: str | None = "lower optimizer.lr, lengthen schedule.warmup_epochs or set optimizer.clip_grad",
        **fields: Any,
    ) -> None:
        super().__init__(problem, fix, **fields)


@dataclass
class TrainState:
    """All that changes during training.

    Attributes:
        model: The bare model; its parameters are what is saved.
        ddp_model: The model as training calls it, wrapped for several processes.
        ema: Averaged weights, or None.
        epoch: Epochs completed.
        updates: Optimizer steps taken.
        best_top1: Best validation accuracy so far, in %.
    """

    model: nn.Module
    ddp_model: nn.Module
    ema: ModelEmaV3 | None
    optimizer: Optimizer
    scheduler: Scheduler
    scaler: torch.amp.GradScaler
    epoch: int = 0
    updates: int = 0
    best_top1: float = -1.0

    @property
    def learning_rate(self) -> float:
        """Of the ordinary weights: the first group without a scale of its own, else the first group."""
        groups = self.optimizer.param_groups
        return next((g["lr"] for g in groups if g.get("lr_scale", 1.0) == 1.0), groups[0]["lr"])

    @property
    def learning_rates(self) -> dict[str, float]:
        """Name of each parameter group -> its learning rate."""
        return {group["name"]: group["lr"] for group in self.optimizer.param_groups}

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint must hold to continue."""
        content = {
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "updates": self.updates,
            "best_top1": self.best_top1,
        }
        if self.ema is not None:
            content["state_dict_ema"] = self.ema.module.state_dict()
        return content

    def load(self, content: dict[str, Any], origin: Path) -> None:
        """Continue from the content of a checkpoint, with the learning rates and weight decays of this run.

        Raises:
            UserError: it belongs to another model or optimizer.
        """
        load_exactly(self.model, content["state_dict"], origin)
        if self.ema is not None:
            load_exactly(self.ema.module, content.get("state_dict_ema", content["state_dict"]), origin)
        # load_state_dict would silently bring back the options of the run that wrote the checkpoint.
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        try:
            self.optimizer.load_state_dict(content["optimizer"])
        except (ValueError, KeyError) as error:
            raise UserError(f"{origin} does not fit the optimizer of this configuration: {error}") from None
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)
        self.scaler.load_state_dict(content["scaler"])
        self.epoch, self.updates, self.best_top1 = content["epoch"], content["updates"], content["best_top1"]
        self.scheduler.step(self.epoch)
        self.scheduler.step_update(self.updates)


@dataclass(frozen=True)
class UpdateSummary:
    """One optimizer step.

    Attributes:
        loss: Of this process's images, penalty included.
        gradient_norm: Of all parameters together, before clipping.
        learning_rate: Of the ordinary weights.
        learning_rates: Of every parameter group.
    """

    epoch: int
    update: int
    loss: float
    gradient_norm: float
    learning_rate: float
    learning_rates: dict[str, float]


@dataclass(frozen=True)
class EpochSummary:
    """Mean training loss over the epoch and all processes, and the throughput of all processes."""

    loss: float
    images_per_second: float


def train_epoch(
    state: TrainState,
    loader: DataLoader,
    objective: Objective,
    distributed: DistributedContext,
    on_update: Callable[[UpdateSummary], None],
) -> EpochSummary:
    """Train for one epoch: as many updates as the loader fills, the same number in every process.

    Args:
        on_update: Called after each update.

    Raises:
        NonFiniteLossError: the loss is infinite or not a number.
        UserError: an image cannot be read, a label does not exist, or a process has no images.
    """
    state.ddp_model.train()
    start, images = time.perf_counter(), 0
    total = torch.zeros((), dtype=torch.float64, device=objective.precision.device)
    batches = _endless(loader)
    pending: Callable[[], UpdateSummary] | None = None
    num_updates = len(loader) // objective.accumulation
    for _ in range(num_updates):
        micro_batches = list(itertools.islice(batches, objective.accumulation))
        rates = state.learning_rate, state.learning_rates
        loss, gradient_norm = _update(state, micro_batches, objective, distributed)
        total += loss
        images += sum(len(targets) for _, targets in micro_batches)
        if pending is not None:  # its loss is ready by now, so reading it does not hold the device up
            on_update(pending())
        pending = partial(_summary, state.epoch, state.updates, loss, gradient_norm, *rates)
    assert pending is not None
    on_update(pending())
    totals = distributed.sum(torch.stack([total, total.new_tensor(images)]))
    seconds = time.perf_counter() - start
    state.epoch += 1
    state.scheduler.step(state.epoch)
    return EpochSummary(
        loss=totals[0].item() / (num_updates * distributed.world_size), images_per_second=totals[1].item() / seconds
    )


def _update(
    state: TrainState, micro_batches: list[Batch], objective: Objective, distributed: DistributedContext
) -> tuple[Tensor, Tensor]:
    """One optimizer step over the accumulated batches; their mean loss and the gradient's norm, still on the device."""
    mean_loss = torch.zeros((), dtype=torch.float64, device=objective.precision.device)
    for index, (images, targets) in enumerate(micro_batches):
        # Mixtures and dropped paths depend on the update and the batch's place in the global batch alone.
        seed_generators(objective.seed, state.updates, distributed.rank * objective.accumulation + index)
        images, targets = _prepare(images, targets, objective)
        is_last = index == len(micro_batches) - 1
        with _gradient_exchange(state.ddp_model, is_last):
            with objective.precision.autocast():
                loss = objective.loss(state.ddp_model(images), targets)
            if objective.penalty is not None:
                loss = loss + objective.penalty(state.epoch)
            loss = loss / len(micro_batches)
            state.scaler.scale(loss).backward()
        mean_loss += loss.detach()
    state.scaler.unscale_(state.optimizer)
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    gradient_norm = torch.nn.utils.get_total_norm(gradients)
    if objective.clip_grad is not None:
        clipped = model_parameters(state.model, exclude_head=objective.clip_mode == "agc")
        dispatch_clip_grad(clipped, objective.clip_grad, objective.clip_mode)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    state.updates += 1
    if state.ema is not None:
        state.ema.update(state.model, step=state.updates)
    state.scheduler.step_update(state.updates)
    return mean_loss, gradient_norm


def _prepare(images: Tensor, targets: Tensor, objective: Objective) -> Batch:
    """Check labels while they are on the CPU, bring the batch to the device and mix it."""
    if targets.min() < 0 or targets.max() >= objective.num_classes:
        raise UserError(
            f"labels go from {targets.min()} to {targets.max()}, the model has {objective.num_classes} outputs",
            key="model.num_classes",
        )
    images, targets = objective.precision.images(images), targets.to(objective.precision.device, non_blocking=True)
    return (images, targets) if objective.mixup is None else objective.mixup(images, targets)


def _gradient_exchange(ddp_model: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Exchange gradients between processes in the last backward pass of an update only."""
    if isinstance(ddp_model, DistributedDataParallel) and not now:
        return ddp_model.no_sync()
    return nullcontext()


def _summary(
    epoch: int, update: int, loss: Tensor, gradient_norm: Tensor, learning_rate: float, learning_rates: dict[str, float]
) -> UpdateSummary:
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"the loss is {value} at update {update} (epoch {epoch}), learning rate {learning_rate:.3g}"
        )
    return UpdateSummary(epoch, update, value, gradient_norm.item(), learning_rate, learning_rates)


def _endless(loader: DataLoader) -> Iterator[Batch]:
    """Repeat the loader's batches: processes may hold unequal shares of an iterable data set."""
    while True:
        is_empty = True
        for batch in loader:
            is_empty = False
            yield batch
        if is_empty:
            raise UserError(
                "a process received no whole batch",
                "give fewer processes or data.num_workers than the data set has shards",
                key="data.dataset",
            )
