"""The index of a split: its classes, and every image with its label, in the order that timm or torchvision has."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from training.data.image_files import (
    ImageList,
    annotated_classes,
    check_class_folders,
    class_of_each,
    list_folder,
)
from training.data.image_table import joined
from training.data.natural_order import by_number_and_name, sorted_by_number_and_name

Order = Callable[[str], Any]
Block = tuple[str, Sequence[str]]
"""A folder, and names of images in it that follow each other."""


@dataclass(frozen=True)
class ImageIndex:
    """What is known of a split without reading an image.

    Attributes:
        classes: Their names in the order of their numbers.
        notes: Lines on what was left out.
        times: Folders and files that the index depends on, relative to the split -> ``image_files.time_of`` each.
        paths: Bytes of the images' paths, see ``image_table.ImageTable``.
        labels: (N,) int32.
        spans: (N, 2) int64, offset and size of each image in an archive; None for folders.
    """

    classes: list[str]
    notes: list[str]
    times: dict[str, list[int]]
    paths: np.ndarray
    labels: np.ndarray
    spans: np.ndarray | None = None


def index_folder(root: Path, split_key: str, order: Order) -> ImageIndex:
    """List the images of a folder and their classes.

    Args:
        split_key: The key that names the folder, for messages.
        order: Sorts the classes and, by their paths, the images; with ``str`` images go by class and name.

    Raises:
        UserError: it has no images, or the class of an image is not clear.
    """
    found = list_folder(root)
    by_name = annotated_classes(root, found)
    if by_name is not None:
        return _index(found, order, *_annotated_blocks(found.images, by_name, order))
    by_folder = class_of_each(found.images, root, split_key)
    check_class_folders(root, set(by_folder.values()))
    blocks = list(_blocks(found.images, order))
    return _index(found, order, blocks, [by_folder[folder] for folder, _ in blocks])


def _index(found: ImageList, order: Order, blocks: Sequence[Block], class_of_block: Sequence[str]) -> ImageIndex:
    classes = sorted(set(class_of_block), key=order)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in class_of_block], np.int32)
    labels = np.repeat(labels, [len(names) for _, names in blocks])
    return ImageIndex(classes, found.notes(), found.times, joined(blocks), labels)


def _blocks(images: Mapping[str, Sequence[str]], order: Order) -> Iterator[Block]:
    """Yield the images in their order, a folder at once where no other has images in between."""
    if order is str:
        for folder in sorted(images, key=lambda folder: folder.split("/")):
            yield folder, sorted(images[folder])
        return
    in_order = sorted(images, key=lambda folder: order(f"{folder}/"))
    for _, tied in groupby(in_order, key=lambda folder: by_number_and_name(f"{folder}/")[0]):
        folders = list(tied)
        if len(folders) == 1:
            yield folders[0], sorted_by_number_and_name(images[folders[0]])
        else:  # such as 1 and 01
            yield from _single(images, folders, by_number_and_name)


def _single(images: Mapping[str, Sequence[str]], folders: Sequence[str], order: Order) -> Iterator[Block]:
    paths = [os.path.join(folder, name) for folder in folders for name in images[folder]]
    for path in sorted(paths, key=order):
        folder, _, name = path.rpartition("/")
        yield folder, [name]


def _annotated_blocks(
    images: Mapping[str, Sequence[str]], by_name: Mapping[str, str], order: Order
) -> tuple[list[Block], list[str]]:
    blocks = list(_single(images, list(images), order))
    if order is str:
        blocks.sort(key=lambda block: by_name[block[1][0]])
    return blocks, [by_name[name] for _, (name,) in blocks]
