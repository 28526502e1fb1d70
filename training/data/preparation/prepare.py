"""A data set from its archives, split by split, started or continued."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcls.errors import UserError
from training.atomic_io import write_text_atomic
from training.data.image_files import printable
from training.data.preparation.archives import find_images
from training.data.preparation.class_folders import write_class_folders
from training.data.preparation.shard_files import has_shards, write_shards
from training.data.preparation.size_limit import SizeLimit
from training.data.preparation.verification import check_counts
from training.run_lock import run_lock

RECORD = "preparation.json"


@dataclass(frozen=True)
class Preparation:
    """What is made of which archives.

    Attributes:
        archives: Folder of the official archives.
        out: Folder to write.
        splits: "train", "val", or both.
        images_per_shard: None for class folders.
        limit: Of the images' size.
        workers: Number of processes.
        expect_imagenet: Whether anything but ImageNet's numbers of images and classes is refused.
    """

    archives: Path
    out: Path
    splits: Sequence[str]
    images_per_shard: int | None
    limit: SizeLimit
    workers: int
    expect_imagenet: bool

    def facts(self) -> dict[str, Any]:
        """Return what must be the same when the preparation is continued."""
        is_limited = self.limit.max_size is not None
        return {
            "layout": "folders" if self.images_per_shard is None else "shards",
            "images_per_shard": self.images_per_shard,
            "max_size": self.limit.max_size,
            "quality": self.limit.quality if is_limited else None,
        }


def prepare(preparation: Preparation) -> None:
    """Write the splits that are not there yet, and what is missing of one that was interrupted.

    Raises:
        UserError: an archive is missing or damaged, or holds other numbers of images than it should; the folder holds
            something else, or another process writes to it; the disk is full.
        OSError: the disk is full or refuses.
    """
    with _locked(preparation.out):
        _check_origin(preparation)
        for split in preparation.splits:
            _remember(preparation.out, split, preparation.facts())
            if _is_finished(preparation, split):
                print(f"{split}: finished before", flush=True)
            else:
                _prepare_split(preparation, split)


def _prepare_split(preparation: Preparation, split: str) -> None:
    images = find_images(preparation.archives, split, preparation.workers)
    check_counts(len(images), len(images.classes), split, images.archive, preparation.expect_imagenet)
    _remember(preparation.out, split, {f"bytes of {images.archive.name}": images.archive.stat().st_size})
    if preparation.images_per_shard is None:
        write_class_folders(images, preparation.out / split, preparation.limit, preparation.workers)
    else:
        write_shards(
            images, preparation.out, split, preparation.limit, preparation.images_per_shard, preparation.workers
        )
    print(f"{split}: {len(images)} images of {len(images.classes)} classes", flush=True)


def _is_finished(preparation: Preparation, split: str) -> bool:
    if preparation.images_per_shard is None:
        return (preparation.out / split).exists()
    return has_shards(preparation.out, split)


def _check_origin(preparation: Preparation) -> None:
    """Refuse a folder whose images are not of this script.

    Raises:
        UserError: it holds some.
    """
    strange = [split for split in preparation.splits if _is_finished(preparation, split)]
    if strange and not (preparation.out / RECORD).exists():
        raise UserError(
            f"{printable(preparation.out)} holds {strange[0]} already, which this script has not made",
            "name another folder; --verify without --archives looks through this one",
        )


def _remember(folder: Path, split: str, facts: dict[str, Any]) -> None:
    """Write down how the images of a split are made, and refuse to mix them with others.

    Raises:
        UserError: those that are there were made in another way.
    """
    path = folder / RECORD
    record = json.loads(path.read_text()) if path.exists() else {}
    before = record.setdefault(split, {})
    for name, value in facts.items():
        if before.setdefault(name, value) != value:
            then, now = json.dumps(before[name]), json.dumps(value)
            raise UserError(
                f"{split} in {printable(folder)} was begun with {name} {then}, and now it is {now}",
                "give the same, or name another folder",
            )
    write_text_atomic(path, json.dumps(record, indent=1))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(run_lock(folder))
        except UserError as error:
            raise error.replace(key=None, fix="wait for its end, or name another folder") from None
        yield
