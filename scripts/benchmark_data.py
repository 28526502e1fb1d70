#!/usr/bin/env python3
"""Measure how many training images a core prepares in a second, beside timm's pipeline on the same files and recipe.

    python scripts/benchmark_data.py --config configs/imagenet/convnext_tiny_dcls_gaussian.yaml data.dir=DIR

One loader process with one thread prepares batches for no model, ours and timm's in turns; times are the processor's,
so that other work on the machine hardly counts, and neither does waiting for a disk. The medians over all batches are
printed, for the whole and for each step. timm's pipeline normalizes and erases in the loader; with its prefetcher,
which only GPUs have, the device does that, as in ours. Both are measured. The last line is JSON.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import _checkout  # noqa: F401
import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from timm.data import ImageDataset, create_transform
from timm.data.loader import fast_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from training.cli import cli_errors
from training.config import AugmentationConfig, Config
from training.config_file import load_config
from training.data import native_jpeg, native_pixels
from training.data.dataset import ImageSamples
from training.data.device_transform import Pixels
from training.data.encoded_jpeg import EncodedJpeg, LazyDecoding
from training.data.loaders import decoding_of
from training.data.splits import open_dataset
from training.data.training_transform import TrainingTransform
from training.model import choose_preprocessing, make_model
from training.processes.loader_workers import initialize_worker
from training.run_folder import describe_environment

Steps = list[Callable[[Any], Any]]
STEPS = ("read and decode", "crop and resize", "policy", "to tensor, normalize, erase")
OURS, TIMM, PREFETCHER = "ours", "timm", "timm with its prefetcher"


def timm_transform(augmentation: AugmentationConfig, preprocessing: Preprocessing, *, prefetcher: bool) -> list[Any]:
    """Return timm's transform in three parts."""
    return create_transform(
        preprocessing.input_size, is_training=True, scale=(augmentation.crop_scale[0], augmentation.crop_scale[1]),
        ratio=(augmentation.crop_ratio[0], augmentation.crop_ratio[1]),
        hflip=augmentation.horizontal_flip, vflip=augmentation.vertical_flip,
        color_jitter=augmentation.color_jitter, auto_augment=augmentation.auto_augment,
        interpolation=augmentation.crop_interpolation, mean=preprocessing.mean, std=preprocessing.std,
        re_prob=augmentation.random_erasing, re_mode=augmentation.random_erasing_mode,
        re_count=augmentation.random_erasing_count, use_prefetcher=prefetcher, separate=True,
    )  # fmt: skip


def timm_steps(dataset: ImageDataset, parts: Sequence[Any]) -> Steps:
    """Return what timm does with the number of an image, step by step."""

    def read(index: int) -> Image.Image:
        with dataset.reader[index][0] as file, Image.open(file) as image:
            return image.convert("RGB")

    return [read, *parts]


def our_steps(dataset: ImageDataset, transform: TrainingTransform, decoding: LazyDecoding) -> Steps:
    """Return what we do with the number of an image, step by step: of files that are no JPEG files, what timm does."""
    crop = transform.fast_crop

    def read(index: int) -> Image.Image | Tensor:
        image = decoding.read(dataset.reader[index][0])
        if isinstance(image, EncodedJpeg):
            return image.image() if crop is None else crop.decode(image)
        return image

    def resize(image: Image.Image | Tensor) -> Image.Image | Tensor:
        return crop.resize(image) if crop is not None and isinstance(image, Tensor) else transform.crop(image)

    def vary(image: Image.Image | Tensor) -> Tensor:
        if isinstance(image, Tensor):
            return transform.fast_vary(image)
        return torch.from_numpy(np.array(transform.vary(image)))

    return [read, resize, vary, lambda pixels: Pixels(pixels, transform.erasures(*pixels.shape[:2]))]


def seconds_of_steps(steps: Steps, indices: Sequence[int]) -> list[float]:
    """Take a batch through one step after the other."""
    values: list[Any] = list(indices)
    seconds = []
    for step in steps:
        start = time.process_time()
        values = [step(value) for value in values]
        seconds.append(time.process_time() - start)
    return seconds


def seconds_of_batch(load: Callable[[int], Any], collate: Callable[[list[Any]], Any], indices: Sequence[int]) -> float:
    """Take every image through all steps, as a loader does, and make a batch of them."""
    start = time.process_time()
    collate([load(index) for index in indices])
    return time.process_time() - start


class Rounds(Dataset):
    """What a loader process measures: each round takes a batch through every pipeline, and through its steps.

    Raises:
        UserError: the data set cannot be opened, or gives images that are decoded already.
    """

    def __init__(self, config: Config, batch_size: int, rounds: int) -> None:
        self.batch_size, self.rounds = batch_size, rounds
        self.dataset = open_images(config, batch_size)
        model = make_model(config.model, config.model.num_classes or 10, lambda note: None)
        preprocessing = choose_preprocessing(config.data, model)
        transform = TrainingTransform(config.augmentation, preprocessing)
        decoding = LazyDecoding(decoding_of(preprocessing))
        samples = ImageSamples(self.dataset, transform, config.training.seed, decoding)
        timms, prefetched = (
            timm_steps(self.dataset, timm_transform(config.augmentation, preprocessing, prefetcher=prefetcher))
            for prefetcher in (False, True)
        )
        self.steps = {OURS: our_steps(self.dataset, transform, decoding), TIMM: timms}
        self.pipelines: dict[str, tuple[Callable[[int], Any], Callable[[list[Any]], Any]]] = {
            OURS: (lambda index: samples[0, index], default_collate),
            TIMM: (chained([*timms, lambda image: (image, 0)]), default_collate),
            PREFETCHER: (chained([*prefetched, lambda image: (image, 0)]), fast_collate),
        }
        self.order = list(range(len(self.dataset)))
        random.Random(0).shuffle(self.order)

    def __len__(self) -> int:
        return self.rounds

    def __getitem__(self, number: int) -> tuple[dict[str, float], dict[str, list[float]]]:
        """Return milliseconds an image: of each pipeline, and of each step."""
        places = range(number * self.batch_size, (number + 1) * self.batch_size)
        indices = [self.order[place % len(self.order)] for place in places]
        for index in indices:
            self.dataset.reader[index][0].read()  # from the disk
        scale = 1e3 / self.batch_size
        wholes = {name: scale * seconds_of_batch(*pipeline, indices) for name, pipeline in self.pipelines.items()}
        parts = {name: seconds_of_steps(steps, indices) for name, steps in self.steps.items()}
        return wholes, {name: [scale * seconds for seconds in row] for name, row in parts.items()}


def open_images(config: Config, batch_size: int) -> ImageDataset:
    """Open the training split.

    Raises:
        UserError: it cannot be opened, or gives images that are decoded already.
    """
    dataset = open_dataset(config.data, config.data.train_split, is_training=True, batch_size=batch_size, seed=0)
    if not isinstance(dataset, ImageDataset):
        raise UserError(
            f"{config.data.dataset} decodes by itself, so there is nothing to compare",
            "give a folder, an archive, or shards with an index",
            key="data.dataset",
        )
    return dataset


def measure(config: Config, batch_size: int, batches: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the median milliseconds of an image in each pipeline, and by step in ours and timm's."""
    rounds = Rounds(config, batch_size, batches + 1)
    loader: DataLoader = DataLoader(rounds, batch_size=None, num_workers=1, worker_init_fn=initialize_worker)
    _, *results = loader  # the first round warms up
    wholes, parts = zip(*results, strict=True)
    return (
        {name: statistics.median(whole[name] for whole in wholes) for name in wholes[0]},
        {
            name: [statistics.median(values) for values in zip(*(part[name] for part in parts), strict=True)]
            for name in parts[0]
        },
    )


def chained(steps: Steps) -> Callable[[Any], Any]:
    """Return all steps as one function."""

    def call(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return call


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, as for train.py")
    parser.add_argument("--batches", type=int, default=15, help="how many each pipeline prepares (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images in each (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for train.py")
    options = parser.parse_intermixed_args(arguments)
    with cli_errors():
        config = load_config(options.config, options.overrides)
        milliseconds, by_step = measure(config, options.batch_size, options.batches)
    rates = {name: 1e3 / value for name, value in milliseconds.items()}
    print(
        f"crops alone are decoded: {native_jpeg.is_available()}; compiled RandAugment: {native_pixels.is_available()}"
    )
    rows = [[step, *(f"{by_step[name][place]:.2f}" for name in (TIMM, OURS))] for place, step in enumerate(STEPS)]
    rows.append(["an image in all, in a batch", *(f"{milliseconds[name]:.2f}" for name in (TIMM, OURS))])
    print(tabulate(rows, ["step, ms", TIMM, OURS], disable_numparse=True))
    print(json.dumps({
        "images_per_second_per_core": round(rates[OURS], 1),
        "timm_images_per_second_per_core": round(rates[TIMM], 1),
        "ratio": round(rates[OURS] / rates[TIMM], 2),
        "timm_with_prefetcher_images_per_second_per_core": round(rates[PREFETCHER], 1),
        "ratio_with_prefetcher": round(rates[OURS] / rates[PREFETCHER], 2),
        "milliseconds_by_step": {name: dict(zip(STEPS, by_step[name], strict=True)) for name in (TIMM, OURS)},
        "environment": describe_environment(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
