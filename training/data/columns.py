"""The columns of data sets that are tables: which hold images and labels, and an error that names those there are."""

import json
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dcls.errors import UserError
from training.config import DataConfig

_WDS_SUFFIXES = "jpg;jpeg;png;webp;bmp;gif;tif;tiff;ppm;pgm;jp2;avif"


def column_arguments(config: DataConfig) -> dict[str, Any]:
    """Return what timm's readers of tables need to know."""
    kind = config.dataset.partition("/")[0]
    if kind == "wds":  # the reader calls what it has decoded jpg
        images = f"{config.image_column};jpg" if config.image_column else _WDS_SUFFIXES
        return {"input_key": images, "target_key": config.label_column}
    if kind in ("hfds", "hfids", "tfds"):
        return {"input_key": config.image_column or "image", "target_key": config.label_column or "label"}
    return {}


def check_columns(config: DataConfig, split: str, dataset: Any = None) -> None:
    """Refuse a data set that lacks one of the columns.

    Args:
        dataset: What timm opened; None where it could not.

    Raises:
        UserError: with the names of the columns that there are.
    """
    kind = config.dataset.partition("/")[0]
    if kind == "hfds":
        columns = _hugging_face_columns(config, split) if dataset is None else _filled(dataset.reader.dataset)
        _check(config.image_column or "image", columns, "data.image_column")
        _check(config.label_column or "label", columns, "data.label_column")
    elif kind == "hfids" and dataset is not None and dataset.reader.builder.info.features:
        columns = dataset.reader.builder.info.features
        _check(config.image_column or "image", columns, "data.image_column")
        _check(config.label_column or "label", columns, "data.label_column")
    elif kind == "wds" and dataset is not None:
        info = dataset.reader.split_info
        _check_shard(config, Path(dataset.reader.root, info.filenames[0]), info.alt_label)


def _check(column: str, columns: Collection[str] | None, key: str) -> None:
    if columns is not None and column not in columns:
        raise UserError(
            f"the data set has no column {column!r}",
            f"choose from {', '.join(map(str, columns))}",
            key=key,
            on_every_rank=True,
        )


def _filled(table: Any) -> Collection[str]:
    """Return the names of the columns that hold anything: timm's reader adds an empty one where there is no such."""
    return [name for name in table.column_names if table.data.column(name).null_count < len(table)]


def _hugging_face_columns(config: DataConfig, split: str) -> Collection[str] | None:
    """Return the names of the columns, None if the data set cannot be opened at all."""
    try:
        import datasets  # slow to import, and needed for hfds/ alone

        name = config.dataset.partition("/")[2]
        return datasets.load_dataset(name, split=split, cache_dir=config.dir).column_names
    except Exception:  # which the error that led here tells of
        return None


def _check_shard(config: DataConfig, shard: Path, other_label: str) -> None:
    """Look at the first sample of a shard, where it is a file of this machine.

    Args:
        other_label: Entry of the .json files that the data set itself names.
    """
    if not shard.is_file():
        return
    images = column_arguments(config)["input_key"].split(";")
    label = config.label_column or other_label
    try:
        with tarfile.open(shard) as archive:
            sample = _first_sample(archive)
            content = archive.extractfile(sample["json"]) if label and "json" in sample else None
            entries = json.load(content) if content is not None else {}
    except (OSError, tarfile.TarError, ValueError):  # the reader says so
        return
    if not sample.keys() & set(images):
        _check(config.image_column or "jpg", sample, "data.image_column")
    _check("json" if label else "cls", sample, "data.label_column")
    for entry in label.split(",") if label else ():
        _check(entry, entries, "data.label_column")


def _first_sample(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Return suffix -> file of those that have the name of the first file."""
    sample: dict[str, tarfile.TarInfo] = {}
    stem = None
    for member in filter(tarfile.TarInfo.isfile, archive):
        folder, _, file = member.name.rpartition("/")
        name, _, suffix = file.partition(".")
        stem = stem or (folder, name)
        if stem != (folder, name):
            break
        sample[suffix.lower()] = member
    return sample
