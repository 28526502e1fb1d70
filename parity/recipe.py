#!/usr/bin/env python3
"""Five optimizer steps of a row's objective, beside the reference package's layers in timm's model and plain AdamW.

    python -m parity.recipe

Train ConvNeXt-T with bilinear and with Gaussian DCLS in float64 on 32 px noise, and print how far both sides differ:
the largest difference in a tensor over the largest change in it, for the tensor where that is most. Our side is what
train.py runs: optimizer, groups, schedule, clamping and repulsive loss from the row's configuration. The other side is
written by hand here.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import dcls
from dcls.reference_package import axis_order
from models.building import create_model
from parity.reference import put_reference_layers
from training.config import Config
from training.config_file import load_config
from training.loop import train_epoch
from training.objective import Objective, make_penalty
from training.optimization import make_optimizer, make_scheduler
from training.precision import Precision
from training.processes.distributed import DistributedContext
from training.run_folder import describe_environment
from training.state import TrainState

CONFIGS = Path(__file__).parent.parent / "configs" / "imagenet"
ROWS = ("convnext_tiny_dcls_bilinear_unnormalized", "convnext_tiny_dcls_gaussian")
STEPS = 5
BATCH, IMAGE_SIZE, CLASSES = 2, 32, 10
Batch = tuple[Tensor, Tensor]


def largest_difference(row: str, **options: Any) -> float:
    """Train both sides; return the largest difference in a tensor over the largest change in it, where that is most.

    The repulsive loss, where the row has it, acts from the first step on.

    Args:
        row: A file of configs/imagenet.
        options: Of both models, such as dims and depths.
    """
    config = load_config(CONFIGS / f"{row}.yaml")
    if config.optimizer.repulsion_start_epoch is not None:
        config = load_config(CONFIGS / f"{row}.yaml", ["optimizer.repulsion_start_epoch=0"])
    torch.manual_seed(0)
    ours = create_model(config.model.name, num_classes=CLASSES, **options).double()
    with torch.no_grad():
        for owner in dcls.position_owners(ours).values():
            owner.positions.mul_(4)  # some beyond the border, for the clamping
    theirs = timm.create_model("convnext_tiny", num_classes=CLASSES, **options).double()
    layers = put_reference_layers(theirs, ours)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    batches = [
        (torch.randn(BATCH, 3, IMAGE_SIZE, IMAGE_SIZE).double(), torch.randint(CLASSES, (BATCH,))) for _ in range(STEPS)
    ]
    train_ours(ours, config, batches)
    train_theirs(theirs, layers.values(), config, batches)
    ratios: list[float] = []
    for name, (value, expected) in matching_tensors(ours, theirs).items():
        ratios.append(((value - expected).abs().max() / (value - before[name]).abs().max()).item())
    assert len(ratios) == len(before)
    return max(ratios)


class OneBatch(IterableDataset):
    """An epoch of one batch, in its own order."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Batch]:
        yield self.batch

    def __len__(self) -> int:
        return 1


def train_ours(model: nn.Module, config: Config, batches: list[Batch]) -> None:
    """Train as train.py does, one update an epoch."""
    device = torch.device("cpu")
    optimizer = make_optimizer(config.optimizer, model)
    scheduler = make_scheduler(config.schedule, optimizer, updates_per_epoch=1)
    objective = Objective(
        loss=nn.CrossEntropyLoss(label_smoothing=config.augmentation.label_smoothing),
        mixup=None,
        penalty=make_penalty(config.optimizer, model),
        precision=Precision(device, "float32", channels_last=False),
        accumulation=1,
        clip_grad=None,
        clip_mode="norm",
        num_classes=CLASSES,
        seed=0,
    )
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainState(model, model, None, optimizer, scheduler, scaler)
    for batch in batches:
        loader = DataLoader(OneBatch(batch), batch_size=None)
        train_epoch(state, loader, objective, DistributedContext(0, 1, device), lambda _: None)
        state.complete_epoch({})


def train_theirs(model: nn.Module, layers: Iterable[Any], config: Config, batches: list[Batch]) -> None:
    """Train by hand: AdamW in three groups, linear warm-up, clamping, repulsive loss."""
    one_of_each_set = list({id(layer.P): layer for layer in layers}.values())
    learned = [tensor for layer in one_of_each_set for tensor in (layer.P, layer.SIG) if tensor is not None]
    known = {id(parameter) for parameter in learned}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in known]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
            {"params": learned, "weight_decay": 0.0, "factor": 5.0},
        ],
        eps=1e-8,
    )
    model.train()
    for step, (images, targets) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * step / 20 * group.get("factor", 1.0)
        loss = F.cross_entropy(model(images), targets, label_smoothing=0.1)
        if config.optimizer.repulsion_start_epoch is not None:
            loss = loss + repulsion(one_of_each_set) ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if config.optimizer.clamp_positions:
            for layer in one_of_each_set:
                layer.P.data.clamp_(-(layer.dilated_kernel_size[0] // 2), layer.dilated_kernel_size[0] // 2)


def repulsion(layers: list[Any]) -> Tensor:
    """Compute the repulsive loss pair by pair."""
    total = torch.zeros((), dtype=torch.float64)
    for layer in layers:
        y, x = layer.P[0, :, 0], layer.P[1, :, 0]
        channels, count = x.shape
        overlap = torch.zeros((), dtype=torch.float64)
        for i in range(count):
            for j in range(i):
                squares = (x[:, i] - x[:, j]) ** 2 + (y[:, i] - y[:, j]) ** 2
                overlap = overlap + (1 - squares.sqrt()).clamp(min=0).sum()
        total = total + 2 * overlap / (count * (count - 1) * channels)
    return total / len(layers)


def matching_tensors(ours: nn.Module, theirs: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Return name -> each tensor of our state dict, and its partner in our axis order."""
    learned: dict[int, Tensor] = {}
    for name, layer in ours.named_modules():
        if isinstance(layer, dcls.DclsNd):
            partner: Any = theirs.get_submodule(name)
            order = axis_order(layer.ndim, layer.interpolation)
            learned[id(layer.positions)] = partner.P[order]
            if layer.sigma is not None:
                learned[id(layer.sigma)] = partner.SIG[order]
    partners, values = theirs.state_dict(), ours.state_dict(keep_vars=True)
    return {
        name: (value, learned[id(value)] if id(value) in learned else partners[name]) for name, value in values.items()
    }


def main() -> None:
    """Print the table."""
    print(f"{describe_environment()}; float64, {STEPS} steps, batch {BATCH}, {IMAGE_SIZE} px\n")
    print("| row | largest difference in a tensor / largest change in it |\n|---|---|")
    for row in ROWS:
        print(f"| {row} | {largest_difference(row):.1e} |", flush=True)


if __name__ == "__main__":
    main()
