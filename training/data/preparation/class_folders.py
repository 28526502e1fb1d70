"""A split as one folder of images per class."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.atomic_io import fsync_folder
from training.data.image_files import printable
from training.data.preparation.archives import SourceImages
from training.data.preparation.cores import on_all_cores, progress, until_stopped
from training.data.preparation.size_limit import SizeLimit


@dataclass(frozen=True)
class _FolderJob:
    images: SourceImages
    folder: Path
    limit: SizeLimit


def write_class_folders(images: SourceImages, folder: Path, limit: SizeLimit, workers: int) -> None:
    """Write the class folders; the split's folder has its name when all of them are complete.

    Until then they are in FOLDER.partial, where finished ones stay when this is interrupted and begins again.

    Args:
        folder: That of the split, which does not exist yet.
        workers: Number of processes.

    Raises:
        OSError: the disk is full or refuses.
    """
    unfinished = folder.with_name(f"{folder.name}.partial")
    unfinished.mkdir(parents=True, exist_ok=True)
    sizes = np.bincount(images.labels, minlength=len(images.classes))
    missing = [label for label in range(len(sizes)) if not _is_whole(images, label, unfinished)]
    done = len(images) - int(sizes[missing].sum())
    with (
        on_all_cores(_write_class, _FolderJob(images, unfinished, limit), missing, workers) as results,
        progress(len(images), done, f"writing {folder.name}") as bar,
    ):
        for count, remarks in results:
            for remark in remarks:
                bar.write(remark)
            bar.update(count)
    os.replace(unfinished, folder)
    fsync_folder(folder.parent)


def _is_whole(images: SourceImages, label: int, folder: Path) -> bool:
    """Whether a class was written before, and nobody has taken anything away since."""
    path = folder / images.classes[label]
    names = images.names[_indices(images, label)].tolist()
    return path.is_dir() and set(map(os.fsencode, os.listdir(path))) == set(names)


def _write_class(job: _FolderJob, label: int) -> tuple[int, list[str]]:
    """Write a class; return how many images it has, and what is to be remarked on them."""
    name, indices = job.images.classes[label], _indices(job.images, label)
    folder, unfinished = job.folder / name, job.folder / f".{name}"
    for old in (folder, unfinished):  # not whole
        shutil.rmtree(old, ignore_errors=True)
    unfinished.mkdir()
    try:
        remarks = list(_write_images(job, indices, unfinished))
        os.sync()  # once a class: bringing each file to disk by itself takes hours
        os.replace(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return len(indices), remarks


def _write_images(job: _FolderJob, indices: range, folder: Path) -> Iterator[str]:
    for index, content in job.images.read(until_stopped(indices)):
        name = os.fsdecode(bytes(job.images.names[index]))
        content, remark = job.limit.apply(content)
        (folder / name).write_bytes(content)
        if remark is not None:
            yield f"{printable(name)}: {remark}"


def _indices(images: SourceImages, label: int) -> range:
    first, last = np.searchsorted(images.labels, [label, label + 1]).tolist()
    return range(first, last)
