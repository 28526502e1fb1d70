"""Every image of a prepared data set decoded once."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dcls.errors import UserError
from training.data.image_files import printable
from training.data.preparation.cores import on_all_cores, progress, until_stopped
from training.data.readers import ArchiveReader, FolderReader
from training.data.shards import ShardReader, index_path
from training.data.splits import split_path

_CHUNK = 256
_JPEG_FORMATS = ("JPEG", "MPO")  # MPO: with further pictures behind the first one
IMAGENET = {"train": 1_281_167, "val": 50_000}
IMAGENET_CLASSES = 1_000


def check_counts(images: int, classes: int, split: str, where: Path, expect_imagenet: bool) -> None:
    """Refuse what has other numbers of images and classes than ImageNet.

    Raises:
        UserError: it has.
    """
    if expect_imagenet and (images, classes) != (IMAGENET[split], IMAGENET_CLASSES):
        raise UserError(
            f"{printable(where)} holds {images} images of {classes} classes, and ImageNet's {split} has "
            f"{IMAGENET[split]} of {IMAGENET_CLASSES}",
            "complete it, or give --no-expect-imagenet if it is meant to be something else",
        )


def oddity(image: Image.Image) -> str | None:
    """Say in what an image that was opened differs from nearly all of ImageNet's; None if in nothing."""
    if image.format not in _JPEG_FORMATS:
        return f"no JPEG: {image.format}"
    return "CMYK" if image.mode == "CMYK" else None


def verify(folder: Path, splits: Sequence[str], workers: int, expect_imagenet: bool) -> None:
    """Decode every image; print a line for each that is broken, CMYK or no JPEG, and how many there are.

    Args:
        folder: What holds the splits, as folders, archives or indexed shards.
        splits: "train", "val", or both.
        workers: Number of processes.

    Raises:
        UserError: images are broken, or not as many as ImageNet's.
    """
    broken = total = 0
    for split in splits:
        reader = open_prepared(folder, split)
        kinds: Counter[str] = Counter()
        chunks = [range(start, min(start + _CHUNK, len(reader))) for start in range(0, len(reader), _CHUNK)]
        with (
            on_all_cores(_remarks, reader, chunks, workers) as results,
            progress(len(reader), 0, f"decoding {split}") as bar,
        ):
            for done, remarks in results:
                for name, kind, detail in remarks:
                    bar.write(f"{printable(name)}: {kind}{detail}")
                    kinds[kind] += 1
                bar.update(done)
        found = ", ".join(f"{kinds[kind]} {kind}" for kind in ("broken", "CMYK", "no JPEG"))
        print(f"{split}: {len(reader)} images of {len(reader.class_to_idx)} classes: {found}", flush=True)
        check_counts(len(reader), len(reader.class_to_idx), split, folder, expect_imagenet)
        broken, total = broken + kinds["broken"], total + len(reader)
    if broken:
        raise UserError(f"{broken} of {total} images are broken", "replace or remove these files")


def open_prepared(folder: Path, split: str) -> ShardReader | FolderReader | ArchiveReader:
    """Open a split: indexed shards, class folders, or an archive of these.

    Raises:
        UserError: there is none, or it is not in order.
    """
    if index_path(folder, split).is_file():
        return ShardReader(folder, split)
    path = split_path(str(folder), split)
    return ArchiveReader(path) if path.is_file() else FolderReader(path)


def _remarks(reader: Any, indices: range) -> tuple[int, list[tuple[str, str, str]]]:
    """Return how many images were decoded, and (name, kind, detail) of those to remark on."""
    found = []
    for index in until_stopped(indices):
        try:
            with reader[index][0] as file, Image.open(file) as image:
                odd = oddity(image)
                image.load()
        except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
            found.append((reader.filename(index), "broken", f": {printable(str(error)) or type(error).__name__}"))
            continue
        if odd is not None:
            kind, separator, detail = odd.partition(":")
            found.append((reader.filename(index), kind, separator + detail))
    return len(indices), found
