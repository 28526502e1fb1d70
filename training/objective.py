"""What is minimized: the loss, the mixtures of images that it fits, and the penalty on DCLS positions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn

import dcls
from dcls.errors import UserError
from training.config import AugmentationConfig, Config, OptimizerConfig
from training.data.batches import BatchPlan
from training.precision import Precision
from training.processes.distributed import DistributedContext


@dataclass(frozen=True)
class Objective:
    """What stays the same during training.

    Attributes:
        loss: (logits, targets) -> scalar.
        mixup: Mixes a batch and makes its targets soft, or None.
        penalty: (epoch) -> scalar that is added to the loss, or None.
        precision: Device, precision and memory format.
        accumulation: Batches per update.
        clip_grad: Bound on the gradient, or None; clip_mode says of what.
        num_classes: Labels are below it.
        seed: Of mixtures and dropped paths.
    """

    loss: nn.Module
    mixup: Mixup | None
    penalty: Callable[[int], Tensor] | None
    precision: Precision
    accumulation: int
    clip_grad: float | None
    clip_mode: str
    num_classes: int
    seed: int


def make_objective(
    config: Config, model: nn.Module, num_classes: int, batches: BatchPlan, distributed: DistributedContext
) -> Objective:
    """Build all that stays the same during training.

    Raises:
        UserError: mixtures need an even batch, or the model has no DCLS layer for the penalty.
    """
    training = config.training
    return Objective(
        loss=make_loss(config.augmentation),
        mixup=make_mixup(config.augmentation, num_classes, batches.micro_batch_size),
        penalty=make_penalty(config.optimizer, model),
        precision=Precision(distributed.device, training.precision, training.channels_last),
        accumulation=batches.accumulation,
        clip_grad=config.optimizer.clip_grad,
        clip_mode=config.optimizer.clip_mode,
        num_classes=num_classes,
        seed=training.seed,
    )


def make_mixup(augmentation: AugmentationConfig, num_classes: int, micro_batch_size: int) -> Mixup | None:
    """Mixup and CutMix of whole batches, or None when both are off.

    Raises:
        UserError: a micro-batch is odd, so that its images have no partners.
    """
    if not augmentation.mixes:
        return None
    if micro_batch_size % 2:
        raise UserError(
            f"mixup and cutmix need an even micro-batch, got {micro_batch_size} images",
            "change training.batch_size or training.micro_batch_size, or set augmentation.mixup and cutmix to 0",
            key="training.batch_size",
            on_every_rank=True,
        )
    return Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        prob=augmentation.mixup_probability,
        switch_prob=augmentation.mixup_switch_probability,
        mode=augmentation.mixup_mode,
        label_smoothing=augmentation.label_smoothing,
        num_classes=num_classes,
    )


def make_loss(augmentation: AugmentationConfig) -> nn.Module:
    """Build the training loss: soft targets where batches are mixed, else cross-entropy with label smoothing."""
    if augmentation.mixes:
        return SoftTargetCrossEntropy()
    return nn.CrossEntropyLoss(label_smoothing=augmentation.label_smoothing)


def make_penalty(config: OptimizerConfig, model: nn.Module) -> Callable[[int], Tensor] | None:
    """Build the penalty of an epoch: the square of the repulsive loss from ``repulsion_start_epoch`` on.

    Raises:
        UserError: the model has no DCLS layer whose elements could repel each other.
    """
    first_epoch = config.repulsion_start_epoch
    if first_epoch is None:
        return None
    if not dcls.position_owners(model):
        raise UserError(
            "this model has no DCLS layer", "remove the key", key="optimizer.repulsion_start_epoch", on_every_rank=True
        )
    return lambda epoch: dcls.repulsive_loss(model).square() if epoch >= first_epoch else torch.zeros(())
