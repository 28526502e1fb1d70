#!/usr/bin/env python3
"""Write the data set of configs/studies/reach.yaml: objects of two parts, told apart by how far the parts are apart.

    python scripts/make_reach_task.py data/reach

An image of 24x216 pixels holds one object: two soft discs side by side, 64, 72, 80 or 88 pixels apart, which is the
class. Everything else is drawn at random: where the object is, how bright each disc is, and the noise.

The network of the study sees cells of 8x8 pixels. Nothing that 7 of them in a row show tells the class: two discs are
never in one such window, they keep 7 cells away from the left and the right border, and as distances and places are
multiples of a cell, any place within a cell is as likely in all classes.
"""

import argparse
import tarfile
from functools import partial
from pathlib import Path
from typing import BinaryIO

import _checkout  # noqa: F401
import numpy as np
from make_quickstart_data import add_file, encode_png

from dcls.errors import UserError
from training.atomic_io import write_atomic
from training.cli import cli_errors

HEIGHT, WIDTH = 24, 216
DISTANCES = (64, 72, 80, 88)
RADIUS = 4
BORDER = 56
NOISE = 8.0
IMAGES_PER_CLASS = {"train": 500, "val": 250}


def main() -> None:
    """Run the command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="another one gives other images [%(default)s]")
    options = parser.parse_args()
    with cli_errors():
        write_task(options.out, options.seed)


def write_task(out: Path, seed: int, images_per_class: dict[str, int] = IMAGES_PER_CLASS) -> None:
    """Write an archive for each split, the same bytes for the same seed.

    Raises:
        UserError: one of them is there, or the seed is negative.
    """
    if seed < 0:
        raise UserError(f"a seed is not negative, got {seed}", key="--seed")
    files = {split: out / f"{split}.tar" for split in images_per_class}
    for file in files.values():
        if file.exists():
            raise UserError(f"{file} already exists", "remove it or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    for place, (split, count) in enumerate(images_per_class.items()):
        write_atomic(files[split], partial(_write_split, seed=[seed, place], count=count))


def _write_split(file: BinaryIO, seed: list[int], count: int) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for distance in DISTANCES:
            for index in range(count):
                pixels = draw_image(distance, np.random.default_rng([*seed, distance, index]))
                add_file(archive, f"{distance}-pixels/{index:05d}.png", encode_png(pixels))


def draw_image(distance: int, random: np.random.Generator) -> np.ndarray:
    """Draw two discs that are so many pixels apart, (HEIGHT, WIDTH) uint8."""
    left = random.uniform(BORDER, WIDTH - BORDER - distance)
    row = random.uniform(RADIUS, HEIGHT - RADIUS)
    pixels = random.normal(30, NOISE, (HEIGHT, WIDTH))
    for column in (left, left + distance):
        pixels += random.uniform(120, 200) * disc(row, column)
    return pixels.clip(0, 255).astype(np.uint8)


def disc(row: float, column: float) -> np.ndarray:
    """Draw a disc of height 1 that falls to 0 at RADIUS as a cosine does, (HEIGHT, WIDTH)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - row, columns - column)
    return np.where(distance < RADIUS, 0.5 + 0.5 * np.cos(np.pi * distance / RADIUS), 0.0)


if __name__ == "__main__":
    main()
