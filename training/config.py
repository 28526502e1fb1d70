"""Every key of the configuration, with its type, its one default and its documentation.

The defaults are the recipe of ConvNeXt-T on ImageNet-1k (arXiv:2201.03545), which the DCLS papers train with; a
configuration file states what differs. ``training.config_file`` reads the files.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dcls.errors import UserError

Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Channels = Annotated[list[float], Field(min_length=3, max_length=3)]

DATASET_PREFIXES = ("torch/", "hfds/", "hfids/", "tfds/", "wds/")


class Section(BaseModel):
    """Base of all sections: unknown keys and silent conversions are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ModelConfig(Section):
    """Which model."""

    name: str
    """timm name of the model, one of this project's or any other. Required."""
    num_classes: Count | None = None
    """Number of classes; by default that of the data set."""
    pretrained: bool = False
    """Start from timm's pretrained weights of this name."""
    initial_checkpoint: str | None = None
    """Start from the weights in this file (.pt, .pth or .safetensors)."""
    drop_rate: Fraction = 0.0
    """Dropout before the classifier."""
    drop_path_rate: Fraction | None = 0.1
    """Stochastic depth of the last block, earlier blocks have proportionally less; null for models without it."""
    options: dict[str, Any] = {}
    """Further arguments of the model's constructor, such as dilated_kernel_size, kernel_count, interpolation."""

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        for key in self.options.keys() & {*type(self).model_fields, "checkpoint_path"}:
            own = key.replace("checkpoint_path", "initial_checkpoint")
            raise UserError(f"set model.{own}", key=f"model.options.{key}")
        return self


class DataConfig(Section):
    """Which images, at which size."""

    dir: str
    """Folder of the data set: for image folders the one that holds train_split and val_split. Required."""
    dataset: str = ""
    """Empty for image folders, or a name of timm's create_dataset: torch/cifar10, hfds/..., wds/..."""
    download: bool = False
    """Download the data set into dir if it is missing, where timm can (torch/...)."""
    train_split: str = "train"
    """Folder in dir to train on, or an archive of it (train.tar), or a data set's split; "." is dir itself."""
    val_split: str = "val"
    """Folder or split to evaluate on, as train_split."""
    image_size: Count | None = None
    """Side of the square input in pixels; by default the model's."""
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    """Evaluation: side of the centre crop over the resized image's shorter side; by default the model's."""
    resize_interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    """Evaluation: how images are resized; by default the model's."""
    mean: Channels | None = None
    """Mean of the three channels, of values in [0, 1]; by default the model's."""
    std: Channels | None = None
    """Standard deviation of the three channels; by default the model's."""
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """Loader processes per training process; 0 loads in the training process itself; by default its share of the
    machine's cores, at most 8."""
    val_batch_size: Count = 128
    """Images per process and step of the evaluation."""

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if self.dataset and not self.dataset.startswith(DATASET_PREFIXES):
            raise UserError(
                f"{self.dataset!r} has none of timm's prefixes {' '.join(DATASET_PREFIXES)}",
                "leave it empty for image folders",
                key="data.dataset",
            )
        return self


class AugmentationConfig(Section):
    """How training images and labels are varied, by timm's transforms."""

    crop_scale: Range = [0.08, 1.0]
    """Smallest and largest area of the random crop, over that of the image."""
    crop_ratio: Range = [0.75, 4 / 3]
    """Smallest and largest aspect ratio of the random crop."""
    crop_interpolation: Literal["bilinear", "bicubic", "nearest", "random"] = "bicubic"
    """How the crop is resized."""
    horizontal_flip: Fraction = 0.5
    """Probability of a mirror image."""
    vertical_flip: Fraction = 0.0
    """Probability of an upside-down image."""
    color_jitter: NonNegative = 0.0
    """Strength of the brightness, contrast and saturation jitter; not together with auto_augment."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """timm's policy string, such as rand-m9-mstd0.5-inc1 (RandAugment), or null."""
    random_erasing: Fraction = 0.25
    """Probability that a rectangle is erased."""
    random_erasing_mode: Literal["const", "rand", "pixel"] = "pixel"
    """What the rectangle is filled with: zeros, one random colour, or noise."""
    random_erasing_count: Count = 1
    """Most rectangles in an image."""
    mixup: NonNegative = 0.8
    """Mixup's alpha; 0 is off."""
    cutmix: NonNegative = 1.0
    """CutMix's alpha; 0 is off."""
    mixup_probability: Fraction = 1.0
    """Probability that a batch is mixed."""
    mixup_switch_probability: Fraction = 0.5
    """Probability of CutMix rather than Mixup where both are on."""
    mixup_mode: Literal["batch", "pair", "elem"] = "batch"
    """Draw one mixing weight per batch, pair or image."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of each target spread over all classes."""

    @model_validator(mode="after")
    def _consistent(self) -> "AugmentationConfig":
        for key in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise UserError(f"needs 0 < smallest <= largest, got [{low}, {high}]", key=f"augmentation.{key}")
        if self.color_jitter and self.auto_augment:
            raise UserError(
                "timm ignores it next to auto_augment",
                "set one of the two to 0 or null",
                key="augmentation.color_jitter",
            )
        return self

    @property
    def mixes(self) -> bool:
        """Whether Mixup or CutMix is on, and targets are soft."""
        return (self.mixup > 0 or self.cutmix > 0) and self.mixup_probability > 0


class OptimizerConfig(Section):
    """How the weights are updated, by timm's optimizers."""

    name: str = "adamw"
    """timm's name of the optimizer: adamw, lamb, sgd, ..."""
    lr: Positive = 4e-3
    """Peak learning rate, for the global batch as configured; it is not rescaled."""
    weight_decay: NonNegative = 0.05
    """Weight decay; biases, other 1-D parameters, positions and spreads have none."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=3)] | None = None
    """Decay of the running means; by default the optimizer's."""
    eps: Positive | None = 1e-8
    """Added to the denominator, where there is one; null for the optimizer's default."""
    momentum: Fraction = 0.9
    """For optimizers that have one."""
    options: dict[str, Any] = {}
    """Further arguments of the optimizer, such as max_grad_norm, by which LAMB clips (1.0) whatever clip_grad says."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learning rate of a layer over that of the layer after it, or null."""
    clip_grad: Positive | None = None
    """Bound on the gradient, see clip_mode, or null."""
    clip_mode: Literal["norm", "value", "agc"] = "norm"
    """What is bounded: the global norm, each value, or adaptively per unit."""
    positions_lr_scale: Positive = 5.0
    """Learning rate of DCLS positions and spreads over that of the weights."""
    clamp_positions: bool = False
    """Move DCLS positions that left their kernel back to its border after every step (first paper: true)."""
    repulsion_start_epoch: Annotated[int, Field(ge=0)] | None = None
    """Epoch, counted from 0, from which on the square of the DCLS repulsive loss is added (first paper: 21); null for
    never."""


class ScheduleConfig(Section):
    """How the learning rate changes, by timm's schedulers."""

    name: Literal["cosine", "tanh", "step", "multistep", "poly", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    epochs: Count = 280
    """Length, without the warm-up if warmup_prefix, and without cooldown_epochs."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 20
    """Epochs of linear warm-up."""
    warmup_prefix: bool = True
    """Whether the warm-up comes on top of epochs (300 in all), or replaces their beginning."""
    warmup_lr: NonNegative = 0.0
    """Learning rate at the start of the warm-up."""
    min_lr: NonNegative = 1e-6
    """Learning rate at the end."""
    cooldown_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs at min_lr after the end of cosine, tanh and poly."""
    per_update: bool = True
    """Change the learning rate at every update, or only at every epoch."""
    decay_epochs: Positive = 90
    """step: epochs between two decays."""
    decay_milestones: list[int] = [90, 180, 270]
    """multistep: epochs at which the learning rate decays."""
    decay_rate: Positive = 0.1
    """step and multistep: factor of a decay; poly: power."""

    @model_validator(mode="after")
    def _consistent(self) -> "ScheduleConfig":
        if not self.warmup_prefix and self.warmup_epochs >= self.epochs:
            raise UserError(
                f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs}",
                "set schedule.warmup_prefix: true to add them on top, or fewer",
                key="schedule.warmup_epochs",
            )
        return self

    @property
    def total_epochs(self) -> int:
        """Epochs of training, warm-up and cool-down included."""
        warmup = self.warmup_epochs if self.warmup_prefix else 0
        cooldown = self.cooldown_epochs if self.name in ("cosine", "tanh", "poly") else 0
        return self.epochs + warmup + cooldown


class TrainingConfig(Section):
    """Batches, numerics and reproducibility."""

    batch_size: Count = 4096
    """Images per optimizer step, over all processes: the same optimization on 1, 8 or 32 GPUs."""
    micro_batch_size: Count | None = 128
    """Images that are mixed and computed together; gradients are accumulated to reach batch_size. As long as it is at
    most batch_size / processes, the result does not depend on the number of processes. Null: all that a process has."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass (autocast). Weights, positions and optimizer stay in float32."""
    channels_last: bool = True
    """Memory format of images and weights: faster for these models on GPUs and CPUs."""
    compile: bool = False
    """Compile the model with torch.compile."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = 0.9999
    """Decay per update of the averaged weights, which are evaluated and released too; null for none. It rises with the
    updates u, as u / (10 + u), up to this value, so that the average of a short run is not that of its beginning."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of initial weights, order of images, augmentations and dropped paths."""
    deterministic: bool = False
    """Use deterministic algorithms only: the same run twice is the same to the bit, and slower."""
    device: str | None = None
    """cuda, cpu, ...; by default a GPU where there is one."""
    timeout_minutes: Positive = 10.0
    """How long processes wait for one that does not answer before they end the run."""


_MINUTE = 60.0
_UNITS: dict[str, float | Literal["updates"]] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("", "m", "min", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hour", "hours"), 60 * _MINUTE),
    **dict.fromkeys(("update", "updates"), "updates"),
}


class CheckpointConfig(Section):
    """Where the run is kept."""

    dir: str = "output"
    """Folder that holds one folder per run."""
    name: str | None = None
    """Name of the run's folder; by default that of the configuration file."""
    resume: str | None = None
    """A last.pt or best.pt to continue; "auto": the newest of the run's own that is not damaged, if there is one."""
    every: str | int | float | None = "5 minutes"
    """How often the run is saved within an epoch: "5 minutes", "30 s" or "200 updates"; null: after epochs only."""

    @model_validator(mode="after")
    def _every_is_an_interval(self) -> "CheckpointConfig":
        _ = self.interval
        return self

    @property
    def interval(self) -> tuple[int | None, float | None]:
        """``every`` as a number of updates or of seconds."""
        if self.every is None:
            return None, None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(self.every).strip().lower())
        unit = None if match is None else _UNITS.get(match[2])
        if match is None or unit is None or float(match[1]) <= 0 or (unit == "updates" and "." in match[1]):
            raise UserError(
                f"got {self.every!r}", 'write "5 minutes", "30 s", "200 updates" or null', key="checkpoint.every"
            )
        return (int(match[1]), None) if unit == "updates" else (None, float(match[1]) * unit)


class LoggingConfig(Section):
    """What is reported."""

    log_interval: Count = 50
    """Updates between two lines of the log."""
    wandb: Literal["off", "online", "offline"] = "off"
    """Weights & Biases: off, synchronised, or written to the run's folder only."""
    wandb_project: str = "dcls"
    """Its project."""
    wandb_entity: str | None = None
    """Its user or team; by default your own."""
    wandb_group: str | None = None
    """Its group, to gather the seeds of a row."""


class Config(Section):
    """The whole configuration of a run."""

    model: ModelConfig
    data: DataConfig
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.schedule.min_lr > self.optimizer.lr:
            raise UserError(
                f"{self.schedule.min_lr} is above optimizer.lr, {self.optimizer.lr}",
                "lower the one or raise the other",
                key="schedule.min_lr",
            )
        if self.model.pretrained and self.model.initial_checkpoint:
            raise UserError(
                "contradicts model.pretrained: true", "remove one of the two", key="model.initial_checkpoint"
            )
        return self


def section_types() -> dict[str, type[Section]]:
    """Name of every section -> its type, in order."""
    return {name: field.annotation for name, field in Config.model_fields.items()}  # type: ignore[misc]


def describe_keys() -> str:
    """All sections and keys with their defaults and documentation, for ``train.py --help``."""
    lines = []
    for section_name, section in section_types().items():
        lines.append(f"\n{section_name}: {section.__doc__}")
        for key, field in section.model_fields.items():
            default = "" if field.is_required() else f" [{_plain(field.default)}]"
            lines.append(f"  {section_name}.{key}{default}\n      {' '.join((field.description or '').split())}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    """As YAML would have it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
