"""From the sections ``data`` and ``augmentation`` to loaders, mixing and the loss that fits them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup, create_dataset, create_transform, resolve_data_config
from timm.data.readers.img_extensions import get_img_extensions
from timm.loss import SoftTargetCrossEntropy
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from dcls.errors import UserError
from training.config import AugmentationConfig, DataConfig
from training.dataset import EvaluationOrder, ImageLoader, ImageSamples, IterableShare, TrainingOrder
from training.distributed import DistributedContext
from training.seeding import derive_seed


@dataclass(frozen=True)
class BatchPlan:
    """How a global batch is divided: batch_size = per_process * accumulation * world size."""

    batch_size: int
    per_process: int
    accumulation: int


def plan_batches(batch_size: int, max_per_process: int | None, world_size: int) -> BatchPlan:
    """Divide a global batch over processes, accumulating as few steps as ``max_per_process`` allows.

    Raises:
        UserError: it does not divide evenly, or only into tiny batches.
    """
    if batch_size % world_size:
        raise UserError(
            f"{batch_size} images cannot be divided over {world_size} processes",
            f"use a multiple of {world_size}",
            key="training.batch_size",
            on_every_rank=True,
        )
    share = batch_size // world_size
    accumulation = -(-share // (max_per_process or share))
    while share % accumulation:
        accumulation += 1
    if max_per_process and 2 * (share // accumulation) < min(max_per_process, share):
        raise UserError(
            f"{share} images a process only divide into {accumulation} batches of {share // accumulation}, far below "
            f"training.micro_batch_size, {max_per_process}",
            "use a batch_size with more divisors",
            key="training.batch_size",
            on_every_rank=True,
        )
    return BatchPlan(batch_size, share // accumulation, accumulation)


def open_dataset(config: DataConfig, split: str, *, is_training: bool, batch_size: int, seed: int) -> Any:
    """One split, by timm's ``create_dataset``; images are not transformed yet.

    Raises:
        UserError: the folder is missing or empty, a class folder is empty, or timm cannot open the data set.
    """
    folder = Path(config.dir)
    if not config.dataset:
        folder = folder / split
        check_image_folder(folder, "data.train_split" if is_training else "data.val_split")
    elif config.download:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return create_dataset(
            config.dataset,
            root=str(folder),
            split=split,
            search_split=False,
            is_training=is_training,
            download=config.download,
            batch_size=batch_size,
            seed=seed,
        )
    except (OSError, RuntimeError, ValueError, AssertionError, ImportError, KeyError) as error:
        source = config.dataset or "image folder"
        can_download = source.startswith("torch/") and not config.download
        raise UserError(
            f"cannot open {source} in {folder}, split {split!r}: {error}",
            "data.download=true fetches it (validate.py: --download)" if can_download else None,
            key="data.dataset",
        ) from error


def check_image_folder(folder: Path, split_key: str) -> None:
    """Refuse a folder in which classes would be missing or shifted without a word.

    Args:
        split_key: The key that names the folder.

    Raises:
        UserError: it is missing or empty, holds splits rather than classes, or one of its classes is empty.
    """
    if not folder.is_dir():
        where = "" if folder.is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"no folder {folder}{where}",
            "expected one folder of images per class in it",
            key="data.dir",
            on_every_rank=True,
        )
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if not classes:
        raise UserError(f"{folder} holds no class folders", key="data.dir", on_every_rank=True)
    for entry in classes:
        with os.scandir(entry) as files:
            inner = [Path(file.path) for file in files if file.is_dir()]
        for nested in inner:
            if _holds_images(nested.rglob("*")):
                raise UserError(
                    f"{folder} is not a split: its folder {entry.name} holds no images itself, but {nested} does, and "
                    "images would be counted to the wrong classes",
                    "name the folder that holds the class folders",
                    key=split_key,
                    on_every_rank=True,
                )
        if not _holds_images(entry.iterdir()):
            raise UserError(
                f"the class folder {entry} holds no image",
                "fill it, or remove it everywhere, because the numbers of all classes after it would shift",
                key="data.dir",
                on_every_rank=True,
            )


def _holds_images(files: Iterable[Path]) -> bool:
    extensions = get_img_extensions(as_set=True)
    return any(file.suffix.lower() in extensions for file in files)


def class_names(dataset: Any) -> list[str] | None:
    """Names in the order of their indices, or None where the data set does not know them."""
    mapping = getattr(getattr(dataset, "reader", None), "class_to_idx", None)
    if mapping:
        return sorted(mapping, key=lambda name: mapping[name])
    classes = getattr(dataset, "classes", None)
    return list(classes) if classes else None


def count_classes(train: Any, val: Any, requested: int | None) -> int:
    """The number of classes of the model's output.

    Raises:
        UserError: the splits differ in their classes, there are more classes than requested, or nobody knows.
    """
    names, val_names = class_names(train), class_names(val)
    if names and val_names and names != val_names:
        odd = sorted(set(names) ^ set(val_names))
        raise UserError(
            f"the training split has {len(names)} classes and the validation split {len(val_names)}",
            f"only one of them has: {', '.join(odd[:5])}",
            key="data.dir",
            on_every_rank=True,
        )
    if requested is None and names is None:
        raise UserError(
            "this data set does not tell its number of classes", "set it", key="model.num_classes", on_every_rank=True
        )
    if requested is not None and names is not None and requested != len(names):
        raise UserError(
            f"{requested}, but the data set has {len(names)} classes",
            "remove the key or correct it",
            key="model.num_classes",
            on_every_rank=True,
        )
    return requested if requested is not None else len(names or [])


def preprocessing(config: DataConfig, model: nn.Module, *, use_test_size: bool = False) -> dict[str, Any]:
    """Input size, crop, interpolation, mean and std: as configured, else as the model's own configuration.

    Args:
        use_test_size: Prefer the size and crop that timm evaluates the model's pretrained weights with, where they
            differ from those of its training.
    """
    wanted = dict(
        img_size=config.image_size,
        crop_pct=config.crop_pct,
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
    )
    return resolve_data_config(
        {k: v for k, v in wanted.items() if v is not None}, model=model, use_test_size=use_test_size
    )


def training_loader(
    dataset: Any,
    data: DataConfig,
    augmentation: AugmentationConfig,
    image: dict[str, Any],
    batches: BatchPlan,
    distributed: DistributedContext,
    seed: int,
) -> DataLoader:
    """Shuffled, augmented batches of this process; iterable data sets (wds/...) shuffle and share by themselves.

    Args:
        dataset: From ``open_dataset``.
        image: From ``preprocessing``.
        batches: From ``plan_batches``.

    Raises:
        UserError: there are fewer images than one global batch.
    """
    if len(dataset) < batches.batch_size // (distributed.world_size if isinstance(dataset, IterableDataset) else 1):
        raise UserError(
            f"{batches.batch_size} is more than the {len(dataset)} training images",
            key="training.batch_size",
            on_every_rank=True,
        )
    transform = training_transform(augmentation, image)
    order = TrainingOrder(len(dataset), batches.batch_size, distributed.rank, distributed.world_size, seed)
    return _loader(dataset, transform, order, batches.per_process, data.num_workers, distributed, seed, drop_last=True)


def training_transform(augmentation: AugmentationConfig, image: dict[str, Any]) -> Any:
    """timm's random crop, flips, colours, policy and erasing.

    Raises:
        UserError: timm does not know the policy.
    """
    try:
        return create_transform(
            image["input_size"],
            is_training=True,
            scale=tuple(augmentation.crop_scale),
            ratio=tuple(augmentation.crop_ratio),
            hflip=augmentation.horizontal_flip,
            vflip=augmentation.vertical_flip,
            color_jitter=augmentation.color_jitter,
            auto_augment=augmentation.auto_augment,
            interpolation=augmentation.interpolation,
            mean=image["mean"],
            std=image["std"],
            re_prob=augmentation.random_erasing,
            re_mode=augmentation.random_erasing_mode,
            re_count=augmentation.random_erasing_count,
        )
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"timm does not understand {augmentation.auto_augment!r} ({error})",
            "a policy looks like rand-m9-mstd0.5-inc1",
            key="augmentation.auto_augment",
            on_every_rank=True,
        ) from error


def evaluation_loader(
    dataset: Any, data: DataConfig, image: dict[str, Any], distributed: DistributedContext
) -> DataLoader:
    """Batches of this process's share of the images, in which every image stands exactly once."""
    transform = create_transform(
        image["input_size"],
        interpolation=image["interpolation"],
        mean=image["mean"],
        std=image["std"],
        crop_pct=image["crop_pct"],
        crop_mode=image["crop_mode"],
    )
    if isinstance(dataset, IterableDataset):
        dataset = IterableShare(dataset, distributed.rank, distributed.world_size)
    order = EvaluationOrder(len(dataset), distributed.rank, distributed.world_size)
    return _loader(
        dataset, transform, order, data.val_batch_size, data.num_workers, distributed, seed=0, drop_last=False
    )


def make_mixup(augmentation: AugmentationConfig, num_classes: int, per_process: int) -> Mixup | None:
    """Mixup and CutMix of whole batches, or None when both are off.

    Raises:
        UserError: the batch of a process is odd, so that its images have no partners.
    """
    if not augmentation.mixes:
        return None
    if per_process % 2:
        raise UserError(
            f"mixup and cutmix need an even batch per process, got {per_process}",
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
    """The training loss: soft targets where batches are mixed, else cross-entropy with label smoothing."""
    if augmentation.mixes:
        return SoftTargetCrossEntropy()
    return nn.CrossEntropyLoss(label_smoothing=augmentation.label_smoothing)


def default_workers() -> int:
    """This process's share of the cores it may use, between 1 and 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _loader(
    dataset: Any,
    transform: Any,
    order: TrainingOrder | EvaluationOrder,
    batch_size: int,
    num_workers: int | None,
    distributed: DistributedContext,
    seed: int,
    drop_last: bool,
) -> DataLoader:
    num_workers = default_workers() if num_workers is None else num_workers
    iterable = isinstance(dataset, IterableDataset)
    if iterable:
        getattr(dataset, "source", dataset).transform = transform
        dataset.set_loader_cfg(num_workers=num_workers)
    return ImageLoader(
        dataset if iterable else ImageSamples(dataset, transform, seed),
        batch_size=batch_size,
        sampler=None if iterable else order,
        num_workers=num_workers,
        pin_memory=distributed.device.type == "cuda",
        drop_last=drop_last,
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(derive_seed(seed, distributed.rank)),
    )
