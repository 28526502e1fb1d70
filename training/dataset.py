"""Reading single images: in which order, with which random numbers, and what happens to a broken one."""

import itertools
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from timm.data import ImageDataset
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, default_collate

from dcls.errors import UserError
from training.seeding import derive_seed, random_numbers_of

SampleKey = tuple[int, int]  # (epoch, index)


class ImageSamples(Dataset):
    """A data set whose augmentation of an image depends on seed, epoch and image alone.

    The order of loading, the number of loader processes and the number of training processes then change nothing.

    In place of an image that cannot be read comes the ``UserError``, for ``ImageLoader`` to raise: raised in a worker
    process it would come back as the text of a traceback.

    Args:
        source: One of timm's map-style data sets, without a transform.
        transform: PIL image -> tensor (C, H, W).
        seed: Seed of the augmentations.
    """

    def __init__(self, source: Any, transform: Callable[[Image.Image], torch.Tensor], seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, torch.Tensor] | UserError:
        epoch, index = key
        try:
            image, target = self._read(index)
        except UserError as error:
            return error
        with random_numbers_of(self.seed, epoch, index):
            return self.transform(image), torch.as_tensor(target)

    def _read(self, index: int) -> tuple[Image.Image, Any]:
        name = f"number {index}"
        try:
            if not isinstance(self.source, ImageDataset):  # torchvision decodes by itself
                image, target = self.source[index]
                return image.convert("RGB"), target
            # Past timm's own reading, which replaces a broken image by the next one.
            file, target = self.source.reader[index][:2]
            name = self.source.filename(index, absolute=True) or name
            with file, Image.open(file) as image:
                return image.convert("RGB"), target
        except (OSError, SyntaxError, ValueError, tarfile.TarError, Image.DecompressionBombError) as error:
            raise UserError(f"cannot decode image {name}: {error}", "replace or remove the file") from None


class ImageLoader(DataLoader):
    """A loader of ``ImageSamples`` that raises their errors in the main process.

    Args:
        dataset: The samples.
        **kwargs: As ``DataLoader``, without ``collate_fn``.
    """

    def __init__(self, dataset: Dataset, **kwargs: Any) -> None:
        super().__init__(dataset, collate_fn=_first_error_or_batch, **kwargs)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator class
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _first_error_or_batch(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, UserError)), None) or default_collate(samples)


class TrainingOrder(Sampler):
    """Shuffled (epoch, index) of one process's share; every process knows the same global batches.

    Global batch b of an epoch is the b-th slice of the epoch's permutation, whatever the number of processes; a
    process takes a contiguous part of each. Images that do not fill the last batch wait for the next epoch.
    """

    def __init__(self, size: int, batch_size: int, rank: int, world_size: int, seed: int) -> None:
        assert batch_size % world_size == 0
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.epoch = self.start = 0
        share = batch_size // world_size
        self.share = slice(rank * share, (rank + 1) * share)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch that the next iteration yields, and from which of this process's images on."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.size // self.batch_size * (self.share.stop - self.share.start)

    def __iter__(self) -> Iterator[SampleKey]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator)
        whole = order[: self.size // self.batch_size * self.batch_size].view(-1, self.batch_size)
        for index in whole[:, self.share].flatten()[self.start :].tolist():
            yield self.epoch, index


class EvaluationOrder(Sampler):
    """Every rank-th (0, index): together the processes see each image exactly once."""

    def __init__(self, size: int, rank: int, world_size: int) -> None:
        self.indices = range(rank, size, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[SampleKey]:
        return iter([(0, index) for index in self.indices])


class IterableShare(IterableDataset):
    """One process's share of an unshuffled iterable data set: it reads all images and keeps every world_size-th.

    timm's readers share by shards, of which processes may have unequal numbers or none.

    Args:
        source: timm's ``IterableImageDataset``.
    """

    def __init__(self, source: Any, rank: int, world_size: int) -> None:
        self.source, self.rank, self.world_size = source, rank, world_size
        source.reader.dist_rank, source.reader.dist_num_replicas = 0, 1

    def __len__(self) -> int:
        """All images, of all processes."""
        return self.source.reader.num_samples

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return itertools.islice(iter(self.source), self.rank, None, self.world_size)

    def set_loader_cfg(self, num_workers: int) -> None:
        """Tell the reader the number of loader processes, as timm's loader does."""
        self.source.set_loader_cfg(num_workers=num_workers)
