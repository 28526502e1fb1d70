"""From the section ``data`` to the two splits and their classes."""

import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from timm.data import create_dataset
from timm.data.readers.img_extensions import get_img_extensions

from dcls.errors import UserError
from training.config import Config, DataConfig
from training.distributed import DistributedContext


@dataclass(frozen=True)
class Splits:
    """The data set; images are not transformed yet.

    Attributes:
        train, val: timm's data sets.
        num_classes: Number of outputs that a model for them has.
    """

    train: Any
    val: Any
    num_classes: int


def open_splits(config: Config, batch_size: int, distributed: DistributedContext) -> Splits:
    """Open both splits; the main process downloads them before the others look.

    Args:
        batch_size: Images of one process in a batch, by which timm's iterable data sets count.

    Raises:
        UserError: see ``open_dataset`` and ``count_classes``.
    """
    open_split = partial(open_dataset, config.data, batch_size=batch_size, seed=config.training.seed)
    with distributed.main_process_first():
        train = open_split(config.data.train_split, is_training=True)
        val = open_split(config.data.val_split, is_training=False)
    return Splits(train, val, count_classes(train, val, config.model.num_classes))


def open_dataset(config: DataConfig, split: str, *, is_training: bool, batch_size: int, seed: int) -> Any:
    """One split, by timm's ``create_dataset``; images are not transformed yet.

    Raises:
        UserError: the folder is missing or empty, a class folder is empty, or timm cannot open the data set.
    """
    folder = Path(config.dir)
    if not config.dataset:
        folder = split_path(config.dir, split)
        if folder.suffix != ".tar":
            check_image_folder(folder, "data.train_split" if is_training else "data.val_split")
    elif config.download:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        return create_dataset(
            config.dataset,
            root=str(folder),
            split=split,
            search_split=False,
            is_training=is_training,
            download=config.download,
            batch_size=batch_size,
            seed=seed,
        )
    except (OSError, RuntimeError, ValueError, AssertionError, ImportError, KeyError, tarfile.TarError) as error:
        source = config.dataset or "images"
        can_download = source.startswith("torch/") and not config.download
        raise UserError(
            f"cannot open {source} in {folder}, split {split!r}: {error}",
            "data.download=true fetches it (validate.py: --download)" if can_download else None,
            key="data.dataset",
        ) from error


def split_path(data_dir: str, split: str) -> Path:
    """Return the folder of a split, or where there is none SPLIT.tar, an archive of the same class folders."""
    folder = Path(data_dir, split)
    archive = Path(data_dir, f"{split}.tar")
    return archive if archive.is_file() and not folder.exists() else folder


def check_image_folder(folder: Path, split_key: str) -> None:
    """Refuse a folder in which classes would be missing or shifted without a word.

    Args:
        split_key: The key that names the folder.

    Raises:
        UserError: it is missing or empty, holds splits rather than classes, or one of its classes is empty.
    """
    if not folder.is_dir():
        where = "" if folder.is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"no folder {folder}{where}",
            f"expected one folder of images per class in it, or an archive of them, {folder.name}.tar",
            key="data.dir",
            on_every_rank=True,
        )
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if not classes:
        raise UserError(f"{folder} holds no class folders", key="data.dir", on_every_rank=True)
    for entry in classes:
        with os.scandir(entry) as files:
            inner = [Path(file.path) for file in files if file.is_dir()]
        for nested in inner:
            if _holds_images(nested.rglob("*")):
                raise UserError(
                    f"{folder} is not a split: its folder {entry.name} holds no images itself, but {nested} does, and "
                    "images would be counted to the wrong classes",
                    "name the folder that holds the class folders",
                    key=split_key,
                    on_every_rank=True,
                )
        if not _holds_images(entry.iterdir()):
            raise UserError(
                f"the class folder {entry} holds no image",
                "fill it, or remove it everywhere, because the numbers of all classes after it would shift",
                key="data.dir",
                on_every_rank=True,
            )


def _holds_images(files: Iterable[Path]) -> bool:
    extensions = get_img_extensions(as_set=True)
    return any(file.suffix.lower() in extensions for file in files)


def class_names(dataset: Any) -> list[str] | None:
    """Names in the order of their indices, or None where the data set does not know them."""
    reader = getattr(dataset, "reader", None)
    mapping = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)  # folder, archive
    if mapping:
        return sorted(mapping, key=lambda name: mapping[name])
    classes = getattr(dataset, "classes", None)
    return list(classes) if classes else None


def count_classes(train: Any, val: Any, requested: int | None) -> int:
    """Return the number of classes of the model's output.

    Raises:
        UserError: the splits differ in their classes, there are more classes than requested, or nobody knows.
    """
    names, val_names = class_names(train), class_names(val)
    if names and val_names and names != val_names:
        odd = sorted(set(names) ^ set(val_names))
        raise UserError(
            f"the training split has {len(names)} classes and the validation split {len(val_names)}",
            f"only one of them has: {', '.join(odd[:5])}",
            key="data.dir",
            on_every_rank=True,
        )
    if requested is None and names is None:
        raise UserError(
            "this data set does not tell its number of classes", "set it", key="model.num_classes", on_every_rank=True
        )
    if requested is not None and names is not None and requested != len(names):
        raise UserError(
            f"{requested}, but the data set has {len(names)} classes",
            "remove the key or correct it",
            key="model.num_classes",
            on_every_rank=True,
        )
    return requested if requested is not None else len(names or [])
