"""Every key of the configuration, with its type, its one default and its documentation.

The defaults are the recipe of ConvNeXt-T on ImageNet-1k (arXiv:2201.03545), which the DCLS papers train with; a
configuration file states what differs. ``training.config_file`` reads the files.
"""

import os
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from dcls.checkpoints.description import is_plain
from dcls.errors import UserError
from dcls.interpolation import INTERPOLATIONS


def _check_path(text: str) -> str:
    if not text or "\0" in text or len(text) > 4000 or max(map(len, text.split("/"))) > 255:
        raise UserError(f"{text!r:.80} is not a path")
    return text


def _check_run_name(text: str) -> str:
    if not text or text in (".", "..") or "/" in text or "\0" in text or len(text) > 200:
        raise UserError(f"{text!r:.80} is not a folder name", "the run is in checkpoint.dir under this name")
    return text


def _check_options(section: str, options: dict[str, Any]) -> None:
    for key, value in options.items():
        if not is_plain(value):
            problem = f"{value!r:.80} is no number, text, list or mapping that a file can keep"
            raise UserError(problem, key=f"{section}.options.{key}")


def _or_empty(value: Any) -> Any:
    """Take ``dataset=`` on the command line, which YAML reads as null, for what it looks like."""
    return "" if value is None else value


def _check_image_size(value: Any) -> Any:
    """Refuse what is neither a side nor [height, width]; before types are looked at, so that there is one message."""
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if value is not None and not all(type(side) is int and 1 <= side <= 8192 for side in sides):
        raise UserError(f"{value!r:.80} is neither a side of 1 to 8192 pixels nor [height, width]")
    return value


def _check_kernel_size(value: Any) -> Any:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(type(side) is int and 1 <= side <= 8192 for side in sides):
        raise UserError(f"{value!r:.80} is neither a side of 1 to 8192 nor [height, width]")
    return value


def _check_interpolation(name: str) -> str:
    if name not in INTERPOLATIONS:
        raise UserError(f"there is no {name!r:.80}, but {', '.join(INTERPOLATIONS)}")
    return name


# Upper bounds are far beyond what is of use; a value above them is a slip of the hand.
Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, le=1e3)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
LearningRate = Annotated[float, Field(ge=0, le=1e4)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Epochs = Annotated[int, Field(ge=0, le=10**6)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
Channels = Annotated[list[Fraction], Field(min_length=3, max_length=3)]
Deviations = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=3, max_length=3)]
PathText = Annotated[str, AfterValidator(_check_path)]

DATASET_PREFIXES = ("torch/", "hfds/", "hfids/", "tfds/", "wds/")
WITH_COLUMNS = ("hfds/", "hfids/", "tfds/", "wds/")
ITERABLE = ("hfids/", "tfds/")  # wds/ as well, where the shards have no index
TORCHVISION_FOLDERS = ("torch/image_folder", "torch/folder")


def without_choice(dataset: str) -> UserError:
    """Return the error of a data set in which no image can take the place of another one."""
    return UserError(f"{dataset} is read in one go, without a choice", "set stop", key="data.on_error")


class Section(BaseModel):
    """Base of all sections: unknown keys and silent conversions are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class DclsConfig(Section):
    """DCLS layers in place of the convolutions of any model, by ``dcls.convert``."""

    dilated_kernel_size: Annotated[int | list[int], BeforeValidator(_check_kernel_size)]
    """Extent of the dense kernels, or one per axis. Required."""
    kernel_count: Annotated[int, Field(ge=1, le=10**4)]
    """Learned elements of a kernel. Required."""
    interpolation: Annotated[str, AfterValidator(_check_interpolation)] = "gaussian"
    """How an element spreads over the grid points around it: a name of dcls.INTERPOLATIONS."""
    match: Annotated[int, Field(ge=1, le=8192)] | str = 7
    """Which convolutions: depthwise ones whose kernel has at least this extent along some axis, or those whose name
    has this pattern, such as stages.*.conv_dw."""
    share: str | None = "stage"
    """Which of them share positions: stage, channels, a pattern of the modules that own a set each, or null."""
    initial_positions: Literal["normal", "uniform", "half_normal"] = "normal"
    """Where elements of new layers start: normal, N(0, 0.5) pixels; uniform over the kernel; or half_normal, most of
    them at the upper end."""
    initial_sigma: NonNegative | None = None
    """What sigma of new layers starts from, in pixels; by default the interpolation's, 0.23 of the Gaussian."""
    weight_std: Positive | None = None
    """Standard deviation of the weights of new layers, 0.02 in the papers' models; by default as in nn.Conv2d."""


class ModelConfig(Section):
    """Which model."""

    name: str
    """timm name of the model, one of this project's or any other. Required."""
    num_classes: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Number of classes; by default that of the data set."""
    pretrained: bool = False
    """Start from timm's pretrained weights of this name."""
    initial_checkpoint: PathText | None = None
    """Start from the weights in this file (.pt, .pth or .safetensors)."""
    drop_rate: BelowOne = 0.0
    """Dropout before the classifier."""
    drop_path_rate: BelowOne | None = 0.1
    """Stochastic depth of the last block, earlier blocks have proportionally less; null for models without it."""
    options: dict[str, Any] = {}
    """Further arguments of the model's constructor, such as dilated_kernel_size, kernel_count, interpolation."""
    dcls: DclsConfig | None = None
    """DCLS layers in a model that has none. With pretrained or initial_checkpoint, these are dense weights, and the new
    layers start with kernels as near to them as can be."""

    @model_validator(mode="after")
    def _consistent(self) -> "ModelConfig":
        for key in self.options.keys() & {*type(self).model_fields, "checkpoint_path"}:
            own = key.replace("checkpoint_path", "initial_checkpoint")
            raise UserError(f"set model.{own}", key=f"model.options.{key}")
        _check_options("model", self.options)
        return self


class DataConfig(Section):
    """Which images, at which size."""

    dir: PathText
    """Folder of the data set: for image folders the one that holds train_split and val_split. Required."""
    dataset: Annotated[str, BeforeValidator(_or_empty)] = ""
    """Empty for image folders, or a name of timm's create_dataset: torch/cifar10, hfds/..., wds/...
    wds/ with any name behind it: shards; those of scripts/prepare_imagenet.py have an index and are read as folders.
    torch/image_folder: image folders in torchvision's order of classes, where class10 comes before class2."""
    download: bool = False
    """Download the data set into dir if it is missing, where timm can (torch/...)."""
    train_split: PathText = "train"
    """Folder in dir to train on, or an archive of it (train.tar), or a data set's split; "." is dir itself."""
    val_split: PathText = "val"
    """Folder or split to evaluate on, as train_split."""
    image_column: str | None = None
    """hfds/, hfids/, tfds/: column of the images, by default image. wds/: suffix of their files, by default those of
    the usual formats."""
    label_column: str | None = None
    """hfds/, hfids/, tfds/: column of the labels, by default label. wds/: entry of the .json files, by default the
    whole .cls file."""
    image_size: Annotated[int | list[int] | None, BeforeValidator(_check_image_size)] = None
    """Side of the square input in pixels, or [height, width]; by default the model's."""
    crop_pct: Annotated[float, Field(ge=0.1, le=1)] | None = None
    """Evaluation: side of the center crop over the resized image's shorter side; by default the model's."""
    resize_interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    """Evaluation: how images are resized; by default the model's."""
    mean: Channels | None = None
    """Mean of the three channels, of values in [0, 1]; by default the model's."""
    std: Deviations | None = None
    """Standard deviation of the three channels; by default the model's."""
    exif_orientation: bool | None = None
    """Turn images as their EXIF data says, as viewers do. By default as the model was trained; a new one is trained
    without it, as with timm and torchvision."""
    background: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)] | None = None
    """Red, green and blue behind transparent pixels, 0 to 255; by default as the model was trained, which is
    white for a new one."""
    on_error: Literal["stop", "skip"] = "stop"
    """What happens in training when an image cannot be read. stop: the run ends, naming it. skip: it is named, and
    another one, chosen by seed, epoch and image alone, takes its place; metrics.csv counts them (train_replaced).
    The evaluation always stops, because its scores are those of all images. Iterable data sets (hfids/, tfds/, wds/
    without an index) have no other image at hand and take "stop" only."""
    max_skipped: Fraction = 0.001
    """skip: largest share of an epoch's images; a run with more of them ends."""
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Loader processes per training process; 0 loads in the training process itself; by default its share of the
    machine's cores, at most 8."""
    val_batch_size: Annotated[int, Field(ge=1, le=10**5)] = 128
    """Images per process and step of the evaluation."""

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if self.dataset and not self.dataset.startswith(DATASET_PREFIXES):
            raise UserError(
                f"{self.dataset!r} has none of timm's prefixes {' '.join(DATASET_PREFIXES)}",
                "leave it empty for image folders",
                key="data.dataset",
            )
        train, val = map(os.path.normpath, (self.train_split, self.val_split))
        if train == val != ".":
            raise UserError(
                f"{self.val_split!r} is data.train_split too",
                "name images that are not trained on",
                key="data.val_split" if "val_split" in self.model_fields_set else "data.train_split",
            )
        for key in ("image_column", "label_column"):
            if getattr(self, key) is not None and not self.dataset.startswith(WITH_COLUMNS):
                raise UserError(
                    f"only data sets of {' '.join(WITH_COLUMNS)} have columns", "remove it", key=f"data.{key}"
                )
        if self.on_error == "skip" and self.dataset.startswith(ITERABLE):
            raise without_choice(self.dataset)
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
    color_jitter: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Strength of the brightness, contrast and saturation jitter; not together with auto_augment."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """timm's policy string, such as rand-m9-mstd0.5-inc1 (RandAugment), or null."""
    random_erasing: Fraction = 0.25
    """Probability that a rectangle is erased."""
    random_erasing_mode: Literal["const", "rand", "pixel"] = "pixel"
    """What the rectangle is filled with: zeros, one random color, or noise."""
    random_erasing_count: Annotated[int, Field(ge=1, le=100)] = 1
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
    label_smoothing: BelowOne = 0.1
    """Share of each target spread over all classes."""

    @model_validator(mode="after")
    def _consistent(self) -> "AugmentationConfig":
        for key, bound in (("crop_scale", 1), ("crop_ratio", 100)):
            low, high = getattr(self, key)
            if not 0 < low <= high <= bound:
                problem = f"needs 0 < smallest <= largest <= {bound}, got [{low}, {high}]"
                raise UserError(problem, key=f"augmentation.{key}")
        if self.auto_augment is not None and not _is_policy(self.auto_augment):
            raise UserError(
                f"timm does not understand {self.auto_augment!r:.80}",
                "write rand-m9-mstd0.5-inc1, augmix-m3-w3, original, v0, 3a or null",
                key="augmentation.auto_augment",
            )
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


# timm's policies, with the smallest and largest value of each of their options; real numbers where the bounds are.
_NOISE: dict[str, tuple[float, float]] = {"mstd": (0.0, 1e5)}
_POLICIES: dict[str, dict[str, tuple[float, float]]] = {
    "rand": {"m": (0, 100), "n": (1, 10), "p": (0.0, 1.0), "mmax": (1, 100), "inc": (0, 1), **_NOISE},
    "augmix": {"m": (0, 100), "w": (1, 10), "d": (1, 10), "a": (1e-3, 1e3), "b": (0, 1), **_NOISE},
    **{name: _NOISE for name in ("original", "originalr", "v0", "v0r", "3a")},
}
_RAND_TRANSFORMS = ("tweights", "t3a", "t3aw")


def _is_policy(text: str) -> bool:
    """Whether timm understands all of a policy: it passes over an option that has no number."""
    name, *options = text.split("-")
    if name == "rand":
        options = [option for option in options if option not in _RAND_TRANSFORMS]
    return name in _POLICIES and all(_is_policy_option(option, _POLICIES[name]) for option in options)


def _is_policy_option(text: str, allowed: dict[str, tuple[float, float]]) -> bool:
    match = re.fullmatch(r"([a-z]+)(\d{1,6}(\.\d{1,6})?)", text)
    if match is None or match[1] not in allowed:
        return False
    low, high = allowed[match[1]]
    return low <= float(match[2]) <= high and (match[3] is None or isinstance(low, float))


class OptimizerConfig(Section):
    """How the weights are updated, by timm's optimizers."""

    name: str = "adamw"
    """timm's name of the optimizer: adamw, lamb, sgd, ..."""
    lr: Annotated[float, Field(gt=0, le=1e30)] = 4e-3
    """Peak learning rate, for the global batch as configured; it is not rescaled."""
    weight_decay: NonNegative = 0.05
    """Weight decay; biases, other 1-D parameters, positions and spreads have none."""
    betas: Annotated[list[BelowOne], Field(min_length=2, max_length=3)] | None = None
    """Decay of the running means; by default the optimizer's."""
    eps: Annotated[float, Field(gt=0, le=1)] | None = 1e-8
    """Added to the denominator, where there is one; null for the optimizer's default."""
    momentum: BelowOne = 0.9
    """For optimizers that have one."""
    options: dict[str, Any] = {}
    """Further arguments of the optimizer, such as max_grad_norm, by which LAMB clips (1.0) whatever clip_grad says."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Learning rate of a layer over that of the layer after it, or null."""
    clip_grad: Positive | None = None
    """Bound on the gradient, see clip_mode, or null."""
    clip_mode: Literal["norm", "value", "agc"] = "norm"
    """What is bounded: the global norm, each value, or adaptively per unit."""
    positions_lr_scale: NonNegative = 5.0
    """Learning rate of DCLS positions and spreads over that of the weights; 0 leaves them where they start."""
    spreads_lr_scale: NonNegative | None = None
    """The same for the spreads alone; by default positions_lr_scale."""
    clamp_positions: bool = False
    """Move DCLS positions that left their kernel back to its border after every step (first paper: true)."""
    repulsion_start_epoch: Epochs | None = None
    """Epoch, counted from 0, from which on the square of the DCLS repulsive loss is added (first paper: 21); null for
    never."""

    @model_validator(mode="after")
    def _consistent(self) -> "OptimizerConfig":
        _check_options("optimizer", self.options)
        return self


class ScheduleConfig(Section):
    """How the learning rate changes, by timm's schedulers."""

    name: Literal["cosine", "tanh", "step", "multistep", "poly", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    epochs: Annotated[int, Field(ge=1, le=10**6)] = 280
    """Length, without the warm-up if warmup_prefix, and without cooldown_epochs."""
    warmup_epochs: Epochs = 20
    """Epochs of linear warm-up."""
    warmup_prefix: bool = True
    """Whether the warm-up comes on top of epochs (300 in all), or replaces their beginning."""
    warmup_lr: LearningRate = 0.0
    """Learning rate at the start of the warm-up."""
    min_lr: LearningRate = 1e-6
    """Learning rate at the end."""
    cooldown_epochs: Epochs = 0
    """Epochs at min_lr after the end of cosine, tanh and poly."""
    per_update: bool = True
    """Change the learning rate at every update, or only at every epoch."""
    decay_epochs: Positive = 90
    """step: epochs between two decays."""
    decay_milestones: list[Annotated[int, Field(ge=1, le=10**6)]] = [90, 180, 270]
    """multistep: epochs at which the learning rate decays."""
    decay_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    """step and multistep: factor of a decay; poly: power."""

    @model_validator(mode="after")
    def _consistent(self) -> "ScheduleConfig":
        if not self.warmup_prefix and self.warmup_epochs >= self.epochs:
            raise UserError(
                f"{self.warmup_epochs} epochs of warm-up leave nothing of {self.epochs}",
                "set schedule.warmup_prefix: true to add them on top, or fewer",
                key="schedule.warmup_epochs",
            )
        if self.decay_milestones != sorted(set(self.decay_milestones)):
            raise UserError(
                f"{self.decay_milestones!r:.80} do not rise", "name each epoch once", key="schedule.decay_milestones"
            )
        if self.name in ("step", "multistep") and self.decay_rate > 1:
            raise UserError(
                f"{self.decay_rate} would raise the learning rate", "take a factor below 1", key="schedule.decay_rate"
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
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of initial weights, order of images, augmentations and dropped paths."""
    deterministic: bool = False
    """Use deterministic algorithms only: the same run twice is the same to the bit, and slower."""
    device: str | None = None
    """cuda, cpu, ...; by default a GPU where there is one."""
    timeout_minutes: Annotated[float, Field(gt=0, le=10**5)] = 10.0
    """How long processes wait for one that does not answer before they end the run."""


_MINUTE = 60.0
_UNITS: dict[str, float | Literal["updates"]] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("", "m", "min", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hour", "hours"), 60 * _MINUTE),
    **dict.fromkeys(("update", "updates"), "updates"),
}


_MAX_INTERVAL = 10**9


class CheckpointConfig(Section):
    """Where the run is kept."""

    dir: PathText = "output"
    """Folder that holds one folder per run."""
    name: Annotated[str, AfterValidator(_check_run_name)] | None = None
    """Name of the run's folder; by default that of the configuration file."""
    resume: PathText | None = None
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
        if (
            match is None
            or unit is None
            or not 0 < float(match[1]) <= _MAX_INTERVAL
            or (unit == "updates" and "." in match[1])
        ):
            raise UserError(
                f"got {self.every!r}", 'write "5 minutes", "30 s", "200 updates" or null', key="checkpoint.every"
            )
        return (int(match[1]), None) if unit == "updates" else (None, float(match[1]) * unit)


class LoggingConfig(Section):
    """What is reported."""

    log_interval: Count = 50
    """Updates between two lines of the log."""
    report: bool = False
    """Write report.html into the run's folder at its end, as scripts/report.py does."""
    wandb: Literal["off", "online", "offline"] = "off"
    """Weights & Biases: off, synchronized, or written to the run's folder only."""
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
        if self.schedule.warmup_lr > self.optimizer.lr:
            raise UserError(
                f"{self.schedule.warmup_lr} is above optimizer.lr, {self.optimizer.lr}, to which it rises",
                "lower the one or raise the other",
                key="schedule.warmup_lr" if "warmup_lr" in self.schedule.model_fields_set else "optimizer.lr",
            )
        if self.model.pretrained and self.model.initial_checkpoint:
            raise UserError(
                "contradicts model.pretrained: true", "remove one of the two", key="model.initial_checkpoint"
            )
        return self


def section_types() -> dict[str, type[Section]]:
    """Name of every section -> its type, in order."""
    return {name: field.annotation for name, field in Config.model_fields.items()}  # type: ignore[misc]


def nested_section(field: FieldInfo) -> type[Section] | None:
    """Return the section that is the value of a key, if it is one."""
    kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type) and issubclass(kind, Section)]
    return kinds[0] if kinds else None


def list_keys(section: type[Section], prefix: str) -> dict[str, FieldInfo]:
    """Map every key of a section, and those of the sections in it, to what is known of it."""
    keys: dict[str, FieldInfo] = {}
    for key, field in section.model_fields.items():
        keys[f"{prefix}.{key}"] = field
        inner = nested_section(field)
        keys |= {} if inner is None else list_keys(inner, f"{prefix}.{key}")
    return keys


def describe_keys() -> str:
    """All sections and keys with their defaults and documentation, for ``train.py --help``."""
    lines = []
    for section_name, section in section_types().items():
        lines.append(f"\n{section_name}: {section.__doc__}")
        for key, field in list_keys(section, section_name).items():
            default = "" if field.is_required() else f" [{_plain(field.default)}]"
            lines.append(f"  {key}{default}\n      {' '.join((field.description or '').split())}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    """As YAML would have it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
