"""A split as shards: tar archives in WebDataset's format, and the index with which any image is read at once."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dcls.errors import UserError
from training.atomic_io import write_atomic, write_text_atomic
from training.data.image_files import printable
from training.data.image_table import joined
from training.data.preparation.archives import SourceImages, list_members
from training.data.preparation.cores import on_all_cores, progress, until_stopped
from training.data.preparation.size_limit import SizeLimit
from training.data.shards import ShardIndex, index_path

INFO = "_info.json"


@dataclass(frozen=True)
class _ShardJob:
    images: SourceImages
    folder: Path
    limit: SizeLimit


@dataclass(frozen=True)
class _Shard:
    """One archive to write.

    Attributes:
        name: Of its file.
        indices: (M,) of the images in it, in their order.
    """

    name: str
    indices: np.ndarray


def write_shards(
    images: SourceImages, folder: Path, split: str, limit: SizeLimit, images_per_shard: int, workers: int
) -> None:
    """Write the shards of a split, then their index and WebDataset's list of them.

    Finished shards stay when this is interrupted and begins again; without the index they are not a data set.

    Args:
        folder: What holds the shards.
        split: "train" or "val".
        images_per_shard: In all but the last one.
        workers: Number of processes.

    Raises:
        UserError: the disk is full or refuses, or a shard that was there is another one.
    """
    shards = _divide(images, split, images_per_shard)
    missing = [shard for shard in shards if not (folder / shard.name).exists()]
    done = len(images) - sum(len(shard.indices) for shard in missing)
    job = _ShardJob(images, folder, limit)
    with (
        on_all_cores(_write_shard, job, missing, workers) as results,
        progress(len(images), done, f"writing {split}") as bar,
    ):
        for count, remarks in results:
            for remark in remarks:
                bar.write(remark)
            bar.update(count)
    _make_index(job, shards, workers).write(index_path(folder, split))
    _write_info(folder, split, shards)


def has_shards(folder: Path, split: str) -> bool:
    """Whether all that ``write_shards`` writes is there."""
    return split in _read_info(folder)["splits"] and index_path(folder, split).is_file()


def _divide(images: SourceImages, split: str, images_per_shard: int) -> list[_Shard]:
    """Divide the images over shards: training images in a fixed random order, for readers that go through them."""
    order = np.arange(len(images))
    if split == "train":
        hashes = [hashlib.blake2b(name, digest_size=8).digest() for name in images.names.tolist()]
        order = np.argsort(np.array(hashes, dtype="S8"), kind="stable")
    starts = range(0, len(images), images_per_shard)
    return [
        _Shard(f"{split}-{number:05d}.tar", order[start : start + images_per_shard])
        for number, start in enumerate(starts)
    ]


def _write_shard(job: _ShardJob, shard: _Shard) -> tuple[int, list[str]]:
    """Write a shard; return how many images it has, and what is to be remarked on them."""
    remarks: list[str] = []
    path = job.folder / shard.name
    try:
        write_atomic(path, lambda file: remarks.extend(_write_samples(job, shard, file)))
    except UserError as error:
        fix = "is the disk full? What is finished is kept, and the same command continues"
        raise error.replace(fix=fix) from error.__cause__
    finally:
        path.with_name(f"{path.name}.partial").unlink(missing_ok=True)  # of a shard that was stopped
    return len(shard.indices), remarks


def _write_samples(job: _ShardJob, shard: _Shard, file: BinaryIO) -> list[str]:
    remarks = []
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index, content in job.images.read(until_stopped(shard.indices.tolist())):
            content, remark = job.limit.apply(content)
            image, label = _member_names(job.images, index)
            _add(tar, image, content)
            _add(tar, label, str(job.images.labels[index]).encode())
            if remark is not None:
                remarks.append(f"{printable(os.fsdecode(bytes(job.images.names[index])))}: {remark}")
    return remarks


def _member_names(images: SourceImages, index: int) -> tuple[str, str]:
    """Return the names in a shard of an image and of its label; WebDataset ends names at the first point."""
    stem = Path(os.fsdecode(bytes(images.names[index]))).stem.replace(".", "_")
    key = f"{images.classes[images.labels[index]]}/{stem}"
    return f"{key}.jpg", f"{key}.cls"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Append a file without date and owner, so that the same content gives the same archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _make_index(job: _ShardJob, shards: list[_Shard], workers: int) -> ShardIndex:
    """Look up in the shards where each image is, which shows that each is there."""
    images = job.images
    shard_numbers = np.zeros(len(images), dtype=np.uint16 if len(shards) < 2**16 else np.uint32)
    offsets, sizes = np.zeros(len(images), dtype=np.int64), np.zeros(len(images), dtype=np.uint32)
    with (
        on_all_cores(_locate, job, list(enumerate(shards)), workers) as results,
        progress(len(images), 0, "indexing the shards") as bar,
    ):
        for number, places in results:
            indices = shards[number].indices
            shard_numbers[indices] = number
            offsets[indices], sizes[indices] = places.T
            bar.update(len(indices))
    return ShardIndex(
        shards=np.array([shard.name for shard in shards]),
        shard_sizes=np.array([(job.folder / shard.name).stat().st_size for shard in shards]),
        classes=np.array(images.classes),
        paths=joined(_by_class(images)),
        labels=images.labels.astype(np.uint16 if len(images.classes) < 2**16 else np.uint32),
        shard=shard_numbers,
        offsets=offsets,
        sizes=sizes,
    )


def _by_class(images: SourceImages) -> Iterator[tuple[str, list[str]]]:
    firsts = np.searchsorted(images.labels, np.arange(len(images.classes) + 1)).tolist()
    for name, first, last in zip(images.classes, firsts, firsts[1:], strict=False):
        yield name, [os.fsdecode(file) for file in images.names[first:last].tolist()]


def _locate(job: _ShardJob, item: tuple[int, _Shard]) -> tuple[int, np.ndarray]:
    """Return the number of a shard, and (M, 2) offset and size of each of its images.

    Raises:
        UserError: it holds other images than it should.
    """
    number, shard = item
    path = job.folder / shard.name
    members = list_members(path)
    expected = [name for index in shard.indices for name in _member_names(job.images, index)]
    if [member.name for member in members] != expected:
        raise UserError(
            f"{printable(path)} holds other images than it should", "remove it, and run the same command again"
        )
    return number, np.array([(member.offset, member.size) for member in members[::2]])


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / INFO
    return json.loads(path.read_text()) if path.is_file() else {"splits": {}}


def _write_info(folder: Path, split: str, shards: list[_Shard]) -> None:
    """Add a split to the list that timm and other readers of WebDatasets look for."""
    info = _read_info(folder)
    lengths = [len(shard.indices) for shard in shards]
    info["splits"][split] = {
        "name": split,
        "filenames": [shard.name for shard in shards],
        "shard_lengths": lengths,
        "num_samples": sum(lengths),
    }
    write_text_atomic(folder / INFO, json.dumps(info, indent=1))
