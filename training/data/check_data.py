"""Read every image of both splits once, before a run spends days on them."""

import os
import sys
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from dcls.errors import UserError
from training.config import Config
from training.data.dataset import EvaluationOrder
from training.data.decoding import Decoding
from training.data.image_files import printable
from training.data.loaders import samples_of
from training.data.splits import open_splits
from training.processes.cores import usable_cores
from training.processes.distributed import DistributedContext
from training.processes.loader_workers import initialize_worker

_BATCH = 64


def check_data(config: Config) -> None:
    """Print a line for every image that cannot be read or has no label of a class, and how many are fine.

    Raises:
        UserError: there is one.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    alone = DistributedContext(0, 1, torch.device("cpu"))
    splits = open_splits(config, _BATCH, alone)
    broken = total = 0
    for name, dataset in ((config.data.train_split, splits.train), (config.data.val_split, splits.val)):
        problems = list_problems(config, dataset, splits.num_classes, name)
        for problem in problems:
            print(problem)
        print(f"{name}: {len(dataset)} images, {len(problems)} broken", flush=True)
        broken, total = broken + len(problems), total + len(dataset)
    if broken:
        raise UserError(
            f"{broken} of {total} images are broken",
            "replace or remove these files; for training alone data.on_error=skip does without them",
        )


def list_problems(config: Config, dataset: Any, num_classes: int, split: str) -> list[str]:
    """Read a split on all cores; return what is wrong with its images, in their order."""
    samples: Any = samples_of(dataset, _size, Decoding(bool(config.data.exif_orientation)), seed=0)
    iterable = isinstance(samples, IterableDataset)
    workers = usable_cores()
    if iterable:
        samples.set_loader_cfg(num_workers=workers)
    order = None if iterable else EvaluationOrder(len(dataset), 0, 1)
    loader: DataLoader = DataLoader(
        samples, _BATCH, sampler=order, num_workers=workers, collate_fn=list, worker_init_fn=initialize_worker
    )
    problems, seen = [], 0
    with tqdm(total=len(dataset), desc=split, unit="image", leave=False, disable=not sys.stderr.isatty()) as bar:
        for batch in loader:
            for index, sample in enumerate(batch, start=seen):
                name = f"number {index}" if iterable else samples.name(index)
                problems += _problems(sample, name, num_classes)
            seen += len(batch)
            bar.update(len(batch))
            if iterable and problems:  # it does not go on
                return [problems[0]]
    if seen < len(dataset):
        problems.append(f"{len(dataset) - seen} images are missing or were left out, see the warnings above")
    return problems


def _problems(sample: Any, name: str, num_classes: int) -> list[str]:
    error = sample if isinstance(sample, UserError) else sample[0]
    if isinstance(error, UserError):
        return [error.problem]
    label = int(sample[1])
    if 0 <= label < num_classes:
        return []
    return [f"image {printable(name)} has the label {label}, which is none of {num_classes} classes"]


def _size(image: Image.Image) -> torch.Tensor:
    return torch.tensor(image.size)
