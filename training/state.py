"""All that changes during training."""

from dataclasses import dataclass, field
from typing import Any

import torch
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from training.config import Config
from training.objective import Objective
from training.optimization import make_optimizer, make_scheduler
from training.processes.distributed import DistributedContext


@dataclass
class EpochProgress:
    """How far the running epoch is, and this process's sums over it.

    Attributes:
        updates: Optimizer steps taken in this epoch.
        learning_rate: Of the ordinary weights, at the epoch's start.
        loss: Sum over the updates, float64 on the device.
        images: Images seen.
        replaced: Those of them that took the place of images that could not be read.
        seconds: Time spent in training.
        waited: That part of it in which the device waited for images, without the first batch of the epoch, for which
            loader processes have to start.
    """

    learning_rate: float
    loss: Tensor
    updates: int = 0
    images: int = 0
    replaced: int = 0
    seconds: float = 0.0
    waited: float = 0.0


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
        progress: Of the epoch that has begun, or None between two epochs.
        history: One row of metrics.csv for each completed epoch.
        log_size: Bytes of metrics.jsonl so far, by which damage to it is noticed.
        log_checksum: Their CRC-32.
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
    progress: EpochProgress | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    log_size: int = 0
    log_checksum: int = 0

    @property
    def learning_rate(self) -> float:
        """Of the ordinary weights: the first group without a scale of its own, else the first group."""
        groups = self.optimizer.param_groups
        return next((g["lr"] for g in groups if g.get("lr_scale", 1.0) == 1.0), groups[0]["lr"])

    @property
    def learning_rates(self) -> dict[str, float]:
        """Name of each parameter group -> its learning rate."""
        return {group["name"]: group["lr"] for group in self.optimizer.param_groups}

    def complete_epoch(self, row: dict[str, Any]) -> None:
        """Go on to the next epoch; the row of metrics.csv becomes history."""
        self.history.append(row)
        self.progress = None
        self.epoch += 1
        self.scheduler.step(self.epoch)


def make_state(
    config: Config, model: Any, objective: Objective, distributed: DistributedContext, updates_per_epoch: int
) -> TrainState:
    """Bring the model to its device, and build its averaged weights, optimizer and schedule."""
    training, device = config.training, distributed.device
    objective.precision.place(model)
    if training.gradient_checkpointing:
        model.set_grad_checkpointing()
    optimizer = make_optimizer(config.optimizer, model)
    scheduler = make_scheduler(config.schedule, optimizer, updates_per_epoch)
    ema = None
    if training.ema_decay is not None:
        ema = ModelEmaV3(model, decay=training.ema_decay, use_warmup=True, warmup_gamma=10, warmup_power=1)
    if training.compile:
        model.compile(dynamic=False)  # images have one size; only the last batch of an evaluation is smaller
    ddp_model = model
    if distributed.world_size > 1:
        ddp_model = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
    scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "float16")
    return TrainState(model, ddp_model, ema, optimizer, scheduler, scaler)
