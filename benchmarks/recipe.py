#!/usr/bin/env python3
"""Five optimizer steps of a row's objective, beside the reference package's layers in timm's model and plain AdamW.

    python -m benchmarks.recipe

trains ConvNeXt-T with bilinear and with Gaussian DCLS in float64 on 32 px noise, and prints how far both sides differ:
the largest difference in a tensor over the largest change in it, for the tensor where that is most. Our side is what
train.py runs: optimizer, groups, schedule, clamping and repulsive loss from the row's configuration. The other side is
made by hand.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dcls
from benchmarks.environment import describe_environment
from benchmarks.reference import VERSIONS, axis_order, reference
from models.building import create_model
from training.config import Config
from training.config_file import load_config
from training.distributed import DistributedContext
from training.loop import TrainState, train_epoch
from training.objective import Objective, make_penalty
from training.optimization import make_optimizer, make_scheduler
from training.precision import Precision

CONFIGS = Path(__file__).parent.parent / "configs" / "imagenet"
ROWS = ("convnext_tiny_dcls_bilinear_unnormalized", "convnext_tiny_dcls_gaussian")
STEPS = 5
BATCH, IMAGE_SIZE, CLASSES = 2, 32, 10
Batch = tuple[Tensor, Tensor]


def largest_difference(row: str, **options: object) -> float:
    """Train both sides; the largest difference in a tensor over the largest change in it, where that is most.

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
    sets = put_reference_layers(theirs, ours)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    batches = [
        (torch.randn(BATCH, 3, IMAGE_SIZE, IMAGE_SIZE).double(), torch.randint(CLASSES, (BATCH,))) for _ in range(STEPS)
    ]
    train_ours(ours, config, batches)
    train_theirs(theirs, sets, config, batches)
    pairs = list(matching_tensors(ours, theirs))
    assert len(pairs) == len(before)
    changes = [(ours.state_dict()[name] - value).abs().max() for name, value in before.items()]
    return max(((a - b).abs().max() / change).item() for (a, b), change in zip(pairs, changes, strict=True))


def put_reference_layers(theirs: nn.Module, ours: nn.Module) -> list[list[nn.Module]]:
    """The reference's layers in place of timm's convolutions, all weights those of ours; the layers of each stage."""
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if "conv_dw" not in k}, strict=False)
    sets = []
    for their_stage, our_stage in zip(theirs.stages, ours.stages, strict=True):
        layers: list[nn.Module] = []
        for their_block, our_block in zip(their_stage.blocks, our_stage.blocks, strict=True):
            layer = our_block.conv_dw
            size = layer.dilated_kernel_size
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                their_block.conv_dw = reference.Dcls2d(
                    layer.in_channels,
                    layer.out_channels,
                    kernel_count=layer.weight.shape[-1],
                    dilated_kernel_size=size,
                    padding=size[0] // 2,
                    groups=layer.groups,
                    version=VERSIONS[layer.interpolation],
                ).double()
            with torch.no_grad():
                their_block.conv_dw.weight.copy_(layer.weight)
                their_block.conv_dw.bias.copy_(layer.bias)
            layers.append(their_block.conv_dw)
        order = axis_order(2, layer.interpolation)
        first = layers[0]
        with torch.no_grad():
            first.P.copy_(layer.positions[order])
            if layer.sigma is not None:
                first.SIG.copy_(layer.sigma[order])
        for other in layers[1:]:
            other.P = first.P
            if layer.sigma is not None:
                other.SIG = first.SIG
        sets.append(layers)
    return sets


def train_ours(model: nn.Module, config: Config, batches: list[Batch]) -> None:
    """As train.py: one update an epoch."""
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
        train_epoch(state, [batch], objective, DistributedContext(0, 1, device), lambda _: None)  # type: ignore[arg-type]


def train_theirs(model: nn.Module, sets: list[list[nn.Module]], config: Config, batches: list[Batch]) -> None:
    """By hand: AdamW in three groups, linear warm-up, clamping, repulsive loss."""
    first = [layers[0] for layers in sets]
    learned = [layer.P for layer in first] + [layer.SIG for layer in first if layer.version in ("max", "gauss")]
    unused = {id(layer.SIG) for layers in sets for layer in layers if hasattr(layer, "SIG")}
    known = {id(parameter) for parameter in learned} | unused
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
            loss = loss + repulsion(first) ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if config.optimizer.clamp_positions:
            for layer in first:
                layer.P.data.clamp_(-(layer.dilated_kernel_size[0] // 2), layer.dilated_kernel_size[0] // 2)


def repulsion(layers: list[nn.Module]) -> Tensor:
    """The repulsive loss, pair by pair."""
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


def matching_tensors(ours: nn.Module, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor of our state dict and its partner."""
    state, interpolation = theirs.state_dict(), ours.stages[0].blocks[0].conv_dw.interpolation
    for name, value in ours.state_dict().items():
        if ".shared." in name:
            layer, kind = name.split(".shared.")
            partner = state[f"{layer}.{'P' if kind == 'positions' else 'SIG'}"]
            yield value, partner[axis_order(2, interpolation)]
        else:
            yield value, state[name]


def main() -> None:
    """Print the table."""
    print(f"{describe_environment()}; float64, {STEPS} steps, batch {BATCH}, {IMAGE_SIZE} px\n")
    print("| row | largest difference in a tensor / largest change in it |\n|---|---|")
    for row in ROWS:
        print(f"| {row} | {largest_difference(row):.1e} |", flush=True)


if __name__ == "__main__":
    main()
