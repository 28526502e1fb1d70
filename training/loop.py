"""One epoch of training: forward, backward, accumulate, update."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from timm.models import model_parameters
from timm.utils import dispatch_clip_grad
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from dcls.errors import UserError
from training.data.labels import check_labels
from training.data.loaders import Batch, count_replaced, epoch_batches, loader_rate
from training.data.wait_clock import WaitClock
from training.objective import Objective
from training.processes.distributed import DistributedContext
from training.seeding import seed_generators
from training.state import EpochProgress, TrainState


class NonFiniteLossError(UserError):
    """The loss is infinite or not a number."""

    def __init__(
        self,
        problem: str,
        fix: str | None = "lower optimizer.lr, lengthen schedule.warmup_epochs or set optimizer.clip_grad",
        **fields: Any,
    ) -> None:
        super().__init__(problem, fix, **fields)


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
    """Mean training loss over the epoch and all processes, and the throughput of all processes.

    Attributes:
        replaced: Images that took the place of others, which could not be read.
        waiting: Share of the time that the device waited for images, in the process where it waited most.
        loader_images_per_second: What the loaders of all processes could deliver, or None where that is not known.
    """

    loss: float
    images_per_second: float
    replaced: int
    waiting: float
    loader_images_per_second: float | None


class Pauses(Protocol):
    """What happens between two updates, such as saving the run."""

    def is_due(self) -> bool:
        """Return whether something is to happen after this update; asked after each, with one answer for all."""

    def act(self) -> None:
        """Do it: all updates are complete, and reported."""


def train_epoch(
    state: TrainState,
    loader: DataLoader,
    objective: Objective,
    distributed: DistributedContext,
    on_update: Callable[[UpdateSummary], None],
    pauses: Pauses | None = None,
) -> EpochSummary:
    """Train for one epoch, or for the rest of one: as many updates as the loader fills, the same in every process.

    Args:
        on_update: Called after each update.
        pauses: Asked after each update.

    Raises:
        NonFiniteLossError: the loss is infinite or not a number.
        UserError: an image cannot be read, or too many of them, a label does not exist, or a process has no images.
    """
    if state.progress is None:
        zero = torch.zeros((), dtype=torch.float64, device=objective.precision.device)
        state.progress = EpochProgress(state.learning_rate, zero)
    progress, accumulation = state.progress, objective.accumulation
    state.ddp_model.train()
    clock = WaitClock(objective.precision.device)
    batches = _timed(epoch_batches(loader, state.epoch, start=progress.updates * accumulation), clock)
    pending: Callable[[], UpdateSummary] | None = None
    num_updates = len(loader) // accumulation
    start = time.perf_counter()
    while progress.updates < num_updates:
        rates = state.learning_rate, state.learning_rates
        loss, gradient_norm, images = _update(state, batches, objective, distributed)
        if pending is not None:  # its loss is ready by now, so reading it does not hold the device up
            on_update(pending())
        pending = partial(_summary, state.epoch, state.updates, loss, gradient_norm, *rates)
        now = time.perf_counter()
        progress.loss += loss
        progress.images += images
        progress.replaced = count_replaced(loader, progress.replaced)
        progress.seconds, start = progress.seconds + now - start, now
        progress.waited += clock.take_seconds()
        progress.updates += 1
        if pauses is not None and pauses.is_due():
            on_update(pending())
            pending = None
            pauses.act()
            start = time.perf_counter()
    if pending is not None:
        on_update(pending())
    progress.waited += clock.take_seconds()
    return _epoch_summary(progress, loader, distributed)


def _epoch_summary(progress: EpochProgress, loader: DataLoader, distributed: DistributedContext) -> EpochSummary:
    """Add up what all processes have counted."""
    waited = [0.0] * distributed.world_size
    waited[distributed.rank] = progress.waited
    counts = progress.loss.new_tensor([progress.images, progress.replaced, loader_rate(loader), *waited])
    totals = distributed.sum(torch.cat([progress.loss[None], counts]))
    replaced = count_replaced(loader, int(totals[2].item()))
    return EpochSummary(
        loss=totals[0].item() / (progress.updates * distributed.world_size),
        images_per_second=totals[1].item() / progress.seconds,
        replaced=replaced,
        waiting=totals[4:].max().item() / progress.seconds,
        loader_images_per_second=totals[3].item() or None,
    )


def _timed(batches: Iterator[Batch], clock: WaitClock) -> Iterator[Batch]:
    """Count how long the batches after the first one are waited for."""
    yield next(batches)
    while True:
        with clock.waiting():
            batch = next(batches)
        yield batch


def _update(
    state: TrainState, batches: Iterator[Batch], objective: Objective, distributed: DistributedContext
) -> tuple[Tensor, Tensor, int]:
    """Take one optimizer step over the accumulated batches, which come one at a time.

    Returns:
        Their mean loss and the gradient's norm, still on the device, and the number of images.
    """
    mean_loss = torch.zeros((), dtype=torch.float64, device=objective.precision.device)
    count = 0
    for index in range(objective.accumulation):
        images, targets = next(batches)
        count += len(targets)
        # Mixtures and dropped paths depend on the update and the batch's place in the global batch alone.
        seed_generators(objective.seed, state.updates, distributed.rank * objective.accumulation + index)
        images, targets = _prepare(images, targets, objective)
        is_last = index == objective.accumulation - 1
        if is_last:
            distributed.show_progress()
        with _gradient_exchange(state.ddp_model, is_last):
            with objective.precision.autocast():
                loss = objective.loss(state.ddp_model(images), targets)
            if objective.penalty is not None:
                loss = loss + objective.penalty(state.epoch)
            loss = loss / objective.accumulation
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
    return mean_loss, gradient_norm, count


def _prepare(images: Tensor, targets: Tensor, objective: Objective) -> Batch:
    """Check labels while they are on the CPU, bring the batch to the device and mix it."""
    check_labels(targets, objective.num_classes)
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
