"""From splits to loaders: how a global batch is divided, augmented and evaluated."""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.config import AugmentationConfig, DataConfig
from training.data.batches import BatchPlan
from training.data.dataset import (
    EvaluationOrder,
    ImageLoader,
    ImageSamples,
    IterableSamples,
    IterableShare,
    TrainingOrder,
)
from training.data.decoding import BoundedShape, Decoding
from training.data.device_transform import DeviceTransform, Pixels
from training.data.encoded_jpeg import LazyDecoding
from training.data.training_transform import TrainingTransform
from training.processes.cores import usable_cores
from training.processes.distributed import DistributedContext
from training.processes.loader_workers import initialize_worker, kill_workers_at_exit
from training.seeding import derive_seed

Batch = tuple[Tensor, Tensor]
_LONGEST = 100.0  # longer over shorter side of an image, in units of that of the model's input


def training_loader(
    dataset: Any,
    data: DataConfig,
    augmentation: AugmentationConfig,
    preprocessing: Preprocessing,
    batches: BatchPlan,
    distributed: DistributedContext,
    seed: int,
) -> DataLoader:
    """Shuffled, augmented batches of this process; iterable data sets (wds/...) shuffle and share by themselves.

    Args:
        dataset: From ``training.data.splits.open_splits``.
        preprocessing: From ``training.model.choose_preprocessing``.
        batches: From ``training.data.batches.plan_batches``.

    Raises:
        UserError: there are fewer images than one global batch.
    """
    if len(dataset) < batches.batch_size // (distributed.world_size if isinstance(dataset, IterableDataset) else 1):
        raise UserError(
            f"{batches.batch_size} is more than the {len(dataset)} training images",
            key="training.batch_size",
            on_every_rank=True,
        )
    transform = TrainingTransform(augmentation, preprocessing)
    decoding = LazyDecoding(decoding_of(preprocessing))
    order = TrainingOrder(len(dataset), batches.batch_size, distributed.rank, distributed.world_size, seed)
    return sample_loader(
        samples_of(dataset, transform, decoding, seed, replaces=data.on_error == "skip"),
        order,
        batches.micro_batch_size,
        loader_processes(data),
        distributed,
        seed,
        DeviceTransform(preprocessing, distributed.device, augmentation.random_erasing_mode),
        max_replaced=int(data.max_skipped * (len(dataset) // batches.batch_size * batches.batch_size)),
    )


def evaluation_loader(
    dataset: Any, data: DataConfig, preprocessing: Preprocessing, distributed: DistributedContext
) -> DataLoader:
    """Build the loader of this process's share of the images; every image is in exactly one share."""
    _, height, width = preprocessing.input_size
    transform = create_transform(
        preprocessing.input_size,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        normalize=False,
    )
    bounded = BoundedShape(_LONGEST * max(height / width, width / height), partial(_unvaried, transform))
    order = EvaluationOrder(len(dataset), distributed.rank, distributed.world_size)
    samples: Dataset = samples_of(dataset, bounded, decoding_of(preprocessing), seed=0)
    if isinstance(samples, IterableSamples):
        samples = IterableShare(samples, distributed.rank, distributed.world_size)
    prepare = DeviceTransform(preprocessing, distributed.device)
    return sample_loader(samples, order, data.val_batch_size, loader_processes(data), distributed, 0, prepare)


def _unvaried(transform: Callable[[Image.Image], Tensor], image: Image.Image) -> Pixels:
    pixels = transform(image)  # (3, H, W)
    return Pixels(pixels.permute(1, 2, 0), torch.empty(0, 5, dtype=torch.int64))


def decoding_of(preprocessing: Preprocessing) -> Decoding:
    """Return how images become RGB."""
    return Decoding(preprocessing.exif_orientation, preprocessing.background)


def samples_of(
    dataset: Any, transform: Any, decoding: Decoding | LazyDecoding, seed: int, *, replaces: bool = False
) -> ImageSamples | IterableSamples:
    """Return the data set with its images decoded and transformed.

    Args:
        replaces: See ``ImageSamples``; not of iterable data sets.
    """
    if isinstance(dataset, IterableDataset):
        return IterableSamples(dataset, transform, decoding)
    return ImageSamples(dataset, transform, seed, decoding, replaces)


def count_replaced(loader: DataLoader, before: int) -> int:
    """Return how many images replaced others in this epoch, given how many had done so before the latest batches.

    Raises:
        UserError: they are more than data.max_skipped allows.
    """
    count = before + (loader.take_replaced() if isinstance(loader, ImageLoader) else 0)
    if isinstance(loader, ImageLoader) and count > loader.max_replaced:
        raise UserError(
            f"{count} images of this epoch could not be read, and {loader.max_replaced} are allowed",
            "see the warnings above, and restore these files (train.py --check-data lists all of them), or raise it",
            key="data.max_skipped",
        )
    return count


def loader_rate(loader: DataLoader) -> float:
    """Return how many images a second this process's loader could deliver, 0 where it is not known."""
    return loader.take_rate() if isinstance(loader, ImageLoader) else 0.0


def epoch_batches(loader: DataLoader, epoch: int, start: int) -> Iterator[Batch]:
    """Iterate over this process's training batches of an epoch, without end.

    Args:
        start: How many of them to leave out: those that a run which continues has had already. They are not read,
            but where an iterable data set decides on the order by itself.

    Raises:
        UserError: this process has no images.
    """
    if isinstance(loader.dataset, IterableDataset):
        if hasattr(loader.dataset, "set_epoch"):
            loader.dataset.set_epoch(epoch)
        return itertools.islice(_endless(loader), start, None)
    assert isinstance(loader.sampler, TrainingOrder) and loader.batch_size is not None
    loader.sampler.set_epoch(epoch, start * loader.batch_size)
    return _endless(loader)


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


def cores_per_process() -> int:
    """Return this training process's share of the cores that it may use, at least 1."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def loader_processes(data: DataConfig) -> int:
    """Return how many processes load images for each training process."""
    return min(8, cores_per_process()) if data.num_workers is None else data.num_workers


def sample_loader(
    samples: Any,
    order: TrainingOrder | EvaluationOrder,
    batch_size: int,
    num_workers: int,
    distributed: DistributedContext,
    seed: int = 0,
    prepare: DeviceTransform | None = None,
    *,
    max_replaced: int = 0,
) -> DataLoader:
    """Build the loader of this process's share of any samples.

    Args:
        samples: Give a sample, or the error to raise, for each key of ``order``.
        order: Which samples, in which order.
        batch_size: In samples.
        num_workers: Number of loader processes; their end is not waited for.
        seed: Of this loader's random numbers.
        prepare: Makes inputs of batches, on the device.
        max_replaced: See ``ImageLoader``.
    """
    if num_workers:
        kill_workers_at_exit()
    iterable = isinstance(samples, IterableDataset)
    if iterable:
        samples.set_loader_cfg(num_workers=num_workers)
    return ImageLoader(
        samples,
        max_replaced,
        prepare,
        batch_size=batch_size,
        sampler=None if iterable else order,
        num_workers=num_workers,
        pin_memory=distributed.device.type == "cuda",
        drop_last=isinstance(order, TrainingOrder),
        persistent_workers=num_workers > 0,
        worker_init_fn=initialize_worker,
        generator=torch.Generator().manual_seed(derive_seed(seed, distributed.rank)),
    )
