"""Reading single images: in which order, with which random numbers, and what happens to a broken one."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import ImageDataset
from torch.utils.data import Dataset, Sampler

from training.errors import UserError

SampleKey = tuple[int, int]  # (epoch, index)


class Samples(Dataset):
    """A data set whose augmentation of an image depends on seed, epoch and image alone.

    The order of loading, the number of loader processes and the number of training processes then change nothing.

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

    def __getitem__(self, key: SampleKey) -> tuple[torch.Tensor, int]:
        epoch, index = key
        image, target = self._read(index)
        with _random_numbers_of(self.seed, epoch, index):
            return self.transform(image), int(target)

    def _read(self, index: int) -> tuple[Image.Image, int]:
        if not isinstance(self.source, ImageDataset):  # torchvision decodes by itself
            image, target = self.source[index]
            return image.convert("RGB"), target
        # Past timm's own reading, which replaces a broken image by the next one without a word of which it was.
        file, target = self.source.reader[index][:2]
        try:
            with file, Image.open(file) as image:
                return image.convert("RGB"), target
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            name = self.source.filename(index, absolute=True)
            raise UserError(f"cannot decode image {name}: {error}; replace or remove the file") from None


class TrainingOrder(Sampler):
    """Shuffled (epoch, index) of one process's share; every process knows the same global batches.

    Global batch b of an epoch is the b-th slice of the epoch's permutation, whatever the number of processes; a
    process takes a contiguous part of each. Images that do not fill the last batch wait for the next epoch.
    """

    def __init__(self, size: int, batch_size: int, rank: int, world_size: int, seed: int) -> None:
        assert batch_size % world_size == 0
        self.size, self.batch_size, self.seed, self.epoch = size, batch_size, seed, 0
        share = batch_size // world_size
        self.share = slice(rank * share, (rank + 1) * share)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.batch_size * (self.share.stop - self.share.start)

    def __iter__(self) -> Iterator[SampleKey]:
        generator = torch.Generator().manual_seed(_mix(self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator)
        whole = order[: self.size // self.batch_size * self.batch_size].view(-1, self.batch_size)
        for index in whole[:, self.share].flatten().tolist():
            yield self.epoch, index


class EvaluationOrder(Sampler):
    """Every rank-th (0, index): together the processes see each image exactly once."""

    def __init__(self, size: int, rank: int, world_size: int) -> None:
        self.indices = range(rank, size, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[SampleKey]:
        return iter([(0, index) for index in self.indices])


@contextmanager
def _random_numbers_of(*key: int) -> Iterator[None]:
    """Within the block, every global generator starts from the key; afterwards it is as it was before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed = _mix(*key)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _mix(*values: int) -> int:
    """One well-mixed 63-bit seed from several integers."""
    return int(np.random.SeedSequence(values).generate_state(1, np.uint64)[0]) >> 1
