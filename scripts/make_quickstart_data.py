#!/usr/bin/env python3
"""Write the data set of configs/quickstart.yaml: the first Fashion-MNIST images of each class, as image folders.

The result lies in the repository (data/fashion-mnist-small); this is how it was made:

    scripts/make_quickstart_data.py SOURCE data/fashion-mnist-small

SOURCE holds the four original files (train-images-idx3-ubyte.gz, ...), e.g. from Debian's dataset-fashion-mnist.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
IMAGES_PER_CLASS = {"train": ("train", 400), "val": ("t10k", 100)}


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of the original files")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    for split, (original, count) in IMAGES_PER_CLASS.items():
        images = read_idx(options.source / f"{original}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
        labels = read_idx(options.source / f"{original}-labels-idx1-ubyte.gz", header=8)
        for label, name in enumerate(CLASSES):
            folder = options.out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in np.flatnonzero(labels == label)[:count]:
                Image.fromarray(images[index]).save(folder / f"{index:05d}.png", optimize=True)


def read_idx(path: Path, header: int) -> np.ndarray:
    """Bytes of an IDX file after its header, (N,) uint8."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


if __name__ == "__main__":
    main()
