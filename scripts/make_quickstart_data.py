#!/usr/bin/env python3
"""Write the data set of configs/quickstart.yaml: the first Fashion-MNIST images of each class, an archive a split.

The result is in the repository (data/fashion-mnist-small/train.tar and val.tar); this is how it was made:

    scripts/make_quickstart_data.py SOURCE data/fashion-mnist-small

SOURCE holds the four original files (train-images-idx3-ubyte.gz, ...), e.g. from Debian's dataset-fashion-mnist.
"""

import argparse
import gzip
import io
import tarfile
from functools import partial
from pathlib import Path
from typing import BinaryIO

import _checkout  # noqa: F401
import numpy as np
from PIL import Image

from training.atomic_io import write_atomic
from training.cli import cli_errors

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
IMAGES_PER_CLASS = {"train": ("train", 400), "val": ("t10k", 100)}


def main() -> None:
    """Run the command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the original files")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    with cli_errors():
        options.out.mkdir(parents=True, exist_ok=True)
        for split, (original, count) in IMAGES_PER_CLASS.items():
            images = read_idx(options.source / f"{original}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
            labels = read_idx(options.source / f"{original}-labels-idx1-ubyte.gz", header=8)
            write_split = partial(_write_split, images=images, labels=labels, count=count)
            write_atomic(options.out / f"{split}.tar", write_split)


def _write_split(file: BinaryIO, images: np.ndarray, labels: np.ndarray, count: int) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for label, name in enumerate(CLASSES):
            for index in np.flatnonzero(labels == label)[:count]:
                add_file(archive, f"{name}/{index:05d}.png", encode_png(images[index]))


def read_idx(path: Path, header: int) -> np.ndarray:
    """Return the bytes of an IDX file after its header, (N,) uint8."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode a gray image, (H, W) uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return file.getvalue()


def add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append a file without date and owner, so that the same content gives the same archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main()
