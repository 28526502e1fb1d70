"""Reading single images: in which order, with which random numbers, and what happens to a broken one."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from timm.data import ImageDataset
from timm.data.readers.reader_wds import ReaderWds
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, default_collate

from dcls.errors import UserError
from training.data.decoding import Decoding, unreadable
from training.data.encoded_jpeg import DecodingError, EncodedJpeg, LazyDecoding
from training.seeding import cpu_generators_kept, derive_seed, seed_cpu_generators

SampleKey = tuple[int, int]  # (epoch, index)
_MOST_TRIES = 10


class ImageSamples(Dataset):
    """A data set whose augmentation of an image depends on seed, epoch and image alone.

    The order of loading, the number of loader processes and the number of training processes then change nothing.

    In place of an image that cannot be read comes the ``UserError``, for ``ImageLoader`` to raise: raised in a worker
    process it would come back as the text of a traceback.

    Args:
        source: One of timm's map-style data sets, without a transform.
        transform: RGB image -> whatever ``default_collate`` takes, ``Pixels`` in training and evaluation.
        seed: Seed of the augmentations.
        decoding: How images become RGB, or files that the transform decodes.
        replaces: Whether another image takes the place of one that cannot be read; which depends on seed, epoch and
            image alone, too. A sample is then (image, target, error, ...), with an error for every unread image.
    """

    def __init__(
        self,
        source: Any,
        transform: Callable[[Any], Any],
        seed: int,
        decoding: Decoding | LazyDecoding = Decoding(),  # noqa: B008  it is frozen
        replaces: bool = False,
    ) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed
        self.decoding = decoding
        self.replaces = replaces

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> tuple[Any, ...] | UserError:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey]) -> "TimedSamples":
        """Read the samples of a batch."""
        start = time.perf_counter()
        with cpu_generators_kept():
            samples = TimedSamples(self._sample(*key) for key in keys)
        samples.seconds = time.perf_counter() - start
        return samples

    def _sample(self, epoch: int, index: int) -> tuple[Any, ...] | UserError:
        errors: list[UserError] = []
        for candidate in itertools.islice(self._candidates(epoch, index), _MOST_TRIES if self.replaces else 1):
            try:
                seed_cpu_generators(self.seed, epoch, index)
                return *self._read(candidate), *errors
            except UserError as error:
                errors.append(error)
        return errors[0]

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        """Yield the index of an image, and those that may take its place."""
        yield index
        for attempt in itertools.count():
            yield derive_seed(self.seed, epoch, index, attempt) % len(self)

    def _read(self, index: int) -> tuple[Any, torch.Tensor]:
        name = f"number {index}"  # of a table the name is part of the data
        try:
            name = self.name(index)
            image, target = self._open(index)
        except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
            raise unreadable(name, error) from None
        try:
            return self.transform(image), torch.as_tensor(-1 if target is None else target)
        except DecodingError as error:
            raise unreadable(name, error) from None
        except (ValueError, OSError, MemoryError) as error:
            raise unreadable(name, error, "prepare") from None

    def name(self, index: int) -> str:
        """Return the file of an image, or its number where there is none."""
        if isinstance(self.source, ImageDataset):
            return self.source.filename(index, absolute=True) or f"number {index}"
        files = getattr(self.source, "imgs", None)  # of torchvision's data sets of files
        return str(files[index][0]) if files else f"number {index}"

    def _open(self, index: int) -> tuple[Image.Image | EncodedJpeg, Any]:
        if isinstance(self.source, ImageDataset):
            # Past timm's own reading, which replaces a broken image by the next one.
            file, target = self.source.reader[index][:2]
            return self.decoding.read(file), target
        image, target = self.source[index]
        return self.decoding.rgb(image), target


class TimedSamples(list[Any]):
    """Samples of a batch, and the seconds that a loader process took to read and augment them."""

    seconds: float


class ImageLoader(DataLoader):
    """A loader of ``ImageSamples`` that raises their errors in the main process.

    Attributes:
        replaced: Images in the place of others that could not be read, since ``take_replaced``.
        images, seconds: Images loaded since ``take_rate``, and the time that they took in their loader processes.

    Args:
        dataset: The samples.
        max_replaced: How many may be replaced in an epoch, over all processes.
        prepare: What is done to the images of a batch in the main process; None for nothing.
        **kwargs: As ``DataLoader``, without ``collate_fn``.
    """

    def __init__(
        self, dataset: Dataset, max_replaced: int = 0, prepare: Callable[[Any], Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(dataset, collate_fn=_first_error_or_batch, **kwargs)
        self.max_replaced = max_replaced
        self.prepare = prepare
        self.replaced = self.images = 0
        self.seconds = 0.0
        self._named: set[str] = set()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch names its own iterator class
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            (images, targets), replaced, errors, seconds = batch
            self.replaced += replaced
            self.images += len(targets)
            self.seconds += seconds
            self._name(errors)
            yield images if self.prepare is None else self.prepare(images), targets

    def take_replaced(self) -> int:
        """Return ``replaced``, and count from 0 again."""
        count, self.replaced = self.replaced, 0
        return count

    def take_rate(self) -> float:
        """Return how many images a second all loader processes together could deliver, 0 if it is not known."""
        rate = self.images * max(1, self.num_workers) / self.seconds if self.seconds else 0.0
        self.images, self.seconds = 0, 0.0
        return rate

    def _name(self, errors: Sequence[UserError]) -> None:
        """Say once what is wrong with each of them."""
        for problem in dict.fromkeys(error.problem for error in errors):
            if problem not in self._named:
                self._named.add(problem)
                print(f"warning: {problem}; another image takes its place", file=sys.stderr, flush=True)


def _first_error_or_batch(samples: list[Any]) -> Any:
    """Return an error, or the batch, how many of its images replace others, the errors of those, and the time taken."""
    for sample in samples:
        error = sample if isinstance(sample, UserError) else sample[0]
        if isinstance(error, UserError):
            return error
    errors = [error for sample in samples for error in sample[2:]]
    replaced = sum(len(sample) > 2 for sample in samples)
    seconds = samples.seconds if isinstance(samples, TimedSamples) else 0.0
    return default_collate([sample[:2] for sample in samples]), replaced, errors, seconds


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


class IterableSamples(IterableDataset):
    """An iterable data set of timm's; from the first image that cannot be read on come errors for ``ImageLoader``.

    Args:
        source: timm's ``IterableImageDataset``, without a transform.
        transform: As for ``ImageSamples``.
        decoding: How images become RGB.
    """

    def __init__(self, source: Any, transform: Callable[[Image.Image], Any], decoding: Decoding | LazyDecoding) -> None:
        self.source, self.transform, self.decoding = source, transform, decoding

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        try:
            _stop_at_errors(self.source.reader)
            for image, target in self.source:
                yield self.transform(self.decoding.rgb(image)), target
        except Exception as error:  # as Pillow's decoders
            while True:  # a loader drops what does not fill a batch
                yield unreadable("of the data set", error), -1

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.source.set_epoch(epoch)

    def set_loader_cfg(self, num_workers: int) -> None:
        """Tell the reader the number of loader processes, as timm's loader does."""
        self.source.set_loader_cfg(num_workers=num_workers)


def _stop_at_errors(reader: Any) -> None:
    """Let the pipeline of a WebDataset raise what timm's reader would leave out with a warning."""
    if not isinstance(reader, ReaderWds):
        return
    if reader.ds is None:
        reader._lazy_init()
    pipeline: Any = reader.ds
    for stage in pipeline.pipeline:
        if "handler" in getattr(stage, "kw", {}):
            stage.kw["handler"] = _raise


def _raise(error: Exception) -> None:
    raise error


class IterableShare(IterableDataset):
    """One process's share of an unshuffled iterable data set: it reads all images and keeps every world_size-th.

    timm's readers share by shards, of which processes may have unequal numbers or none.

    Args:
        samples: All of them.
    """

    def __init__(self, samples: IterableSamples, rank: int, world_size: int) -> None:
        self.samples, self.rank, self.world_size = samples, rank, world_size
        self.reader = samples.source.reader
        self.reader.dist_rank, self.reader.dist_num_replicas = 0, 1

    def __len__(self) -> int:
        """All images, of all processes."""
        return self.reader.num_samples

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for index, sample in enumerate(self.samples):
            if index % self.world_size == self.rank or isinstance(sample[0], UserError):
                yield sample

    def set_loader_cfg(self, num_workers: int) -> None:
        """Tell the reader the number of loader processes, as timm's loader does."""
        self.samples.set_loader_cfg(num_workers)
