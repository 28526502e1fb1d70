"""One epoch of training: forward, backward, accumulate, update."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3, dispatch_clip_grad
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from training.checkpoint import load_weights
from training.distributed import Processes
from training.errors import UserError
from training.evaluation import Numerics

Batch = tuple[Tensor, Tensor]


class NonFiniteLossError(UserError):
    """The loss is infinite or not a number."""


@dataclass
class TrainState:
    """All that changes during training.

    Attributes:
        network: The bare network; its parameters are what is saved.
        forward: The network as training calls it, wrapped for several processes.
        ema: Averaged weights, or None.
        epoch: Epochs completed.
        updates: Optimizer steps taken.
        best_top1: Best validation accuracy so far, in %.
    """

    network: nn.Module
    forward: nn.Module
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

    def content(self) -> dict[str, Any]:
        """What a checkpoint must hold to continue."""
        content = {
            "state_dict": self.network.state_dict(),
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
            UserError: it belongs to another network or optimizer.
        """
        load_weights(self.network, content["state_dict"], origin)
        if self.ema is not None:
            load_weights(self.ema.module, content.get("state_dict_ema", content["state_dict"]), origin)
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
class Recipe:
    """What stays the same during training.

    Attributes:
        loss: (logits, targets) -> scalar.
        mixup: Mixes a batch and makes its targets soft, or None.
        numerics: Device, precision and memory format.
        accumulation: Batches per update.
        clip_grad: Bound on the gradient, or None; clip_mode says of what.
    """

    loss: nn.Module
    mixup: Mixup | None
    numerics: Numerics
    accumulation: int
    clip_grad: float | None
    clip_mode: str


@dataclass(frozen=True)
class EpochSummary:
    """Mean training loss over the epoch and all processes, and the throughput of all processes."""

    loss: float
    images_per_second: float


def train_epoch(
    state: TrainState,
    loader: DataLoader,
    recipe: Recipe,
    processes: Processes,
    on_update: Callable[[int, float], None],
) -> EpochSummary:
    """Train for one epoch; batches that do not fill an update are dropped.

    Args:
        on_update: Called with the number of each update and the loss of this process's images in it.

    Raises:
        UserError: the loss is not finite.
    """
    state.forward.train()
    start, first_update, images = time.perf_counter(), state.updates, 0
    total = torch.zeros((), dtype=torch.float64, device=recipe.numerics.device)
    pending: Tensor | None = None
    for batches in _in_groups(loader, recipe.accumulation):
        # The loss of the update before is ready by now, so reading it does not hold the device up.
        previous = pending
        pending = _update(state, batches, recipe)
        total += pending
        images += sum(len(targets) for _, targets in batches)
        if previous is not None:
            on_update(state.updates - 1, _finite(previous, state, state.updates - 1))
    if pending is None:
        raise UserError("training.batch_size: the training images do not fill a single update")
    on_update(state.updates, _finite(pending, state, state.updates))
    totals = processes.sum(torch.stack([total, total.new_tensor(images)]))
    seconds = time.perf_counter() - start
    updates = (state.updates - first_update) * processes.world_size
    state.epoch += 1
    state.scheduler.step(state.epoch)
    return EpochSummary(loss=totals[0].item() / updates, images_per_second=totals[1].item() / seconds)


def _update(state: TrainState, batches: list[Batch], recipe: Recipe) -> Tensor:
    """One optimizer step over the accumulated batches; returns their mean loss, still on the device."""
    mean_loss = torch.zeros((), dtype=torch.float64, device=recipe.numerics.device)
    for index, (images, targets) in enumerate(batches):
        images, targets = recipe.numerics.images(images), targets.to(recipe.numerics.device, non_blocking=True)
        if recipe.mixup is not None:
            images, targets = recipe.mixup(images, targets)
        is_last = index == len(batches) - 1
        with _gradient_exchange(state.forward, is_last):
            with recipe.numerics.autocast():
                loss = recipe.loss(state.forward(images), targets) / len(batches)
            state.scaler.scale(loss).backward()
        mean_loss += loss.detach()
    if recipe.clip_grad is not None:
        state.scaler.unscale_(state.optimizer)
        dispatch_clip_grad(state.network.parameters(), recipe.clip_grad, recipe.clip_mode)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    state.updates += 1
    if state.ema is not None:
        state.ema.update(state.network, step=state.updates)
    state.scheduler.step_update(state.updates)
    return mean_loss


def _gradient_exchange(forward: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Exchange gradients between processes in the last backward pass of an update only."""
    if isinstance(forward, DistributedDataParallel) and not now:
        return forward.no_sync()
    return nullcontext()


def _finite(loss: Tensor, state: TrainState, update: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteLossError(
            f"the loss is {value} at update {update} (epoch {state.epoch}), learning rate {state.learning_rate:.3g}; "
            "lower optimizer.lr, lengthen schedule.warmup_epochs or set optimizer.clip_grad"
        )
    return value


def _in_groups(loader: DataLoader, size: int) -> Iterator[list[Batch]]:
    """Lists of ``size`` batches; an incomplete last one is dropped."""
    batches = iter(loader)
    while len(group := list(itertools.islice(batches, size))) == size:
        yield group
