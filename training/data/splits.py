"""From the section ``data`` to the two splits and their classes."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from timm.data import ImageDataset, create_dataset

from dcls.errors import UserError
from training.config import TORCHVISION_FOLDERS, Config, DataConfig, without_choice
from training.data.columns import check_columns, column_arguments
from training.data.decoding import open_image
from training.data.image_files import printable
from training.data.labels import names_in_one_only
from training.data.natural_order import by_number_and_name
from training.data.readers import ArchiveReader, FolderReader
from training.data.shards import ShardReader, index_path
from training.processes.distributed import DistributedContext


@dataclass(frozen=True)
class Splits:
    """The data set; images are not transformed yet.

    Attributes:
        train, val: timm's data sets.
        num_classes: Number of outputs that a model for them has.
        classes: Their names in the order of the outputs, None where the data set does not know them.
    """

    train: Any
    val: Any
    num_classes: int
    classes: list[str] | None


def open_splits(config: Config, batch_size: int, distributed: DistributedContext) -> Splits:
    """Open both splits; the main process downloads them before the others look, and says what is left out.

    Args:
        batch_size: Images of one process in a batch, by which timm's iterable data sets count.

    Raises:
        UserError: see ``open_dataset`` and ``count_classes``.
    """
    open_split = partial(open_dataset, config.data, batch_size=batch_size, seed=config.training.seed)
    with distributed.main_process_first():
        train = open_split(config.data.train_split, is_training=True)
        val = open_split(config.data.val_split, is_training=False)
    if distributed.is_main:
        say_what_is_left_out(train, val)
    return Splits(train, val, count_classes(train, val, config.model.num_classes), class_names(train))


def say_what_is_left_out(*datasets: Any) -> None:
    """Print a line on each kind of files in folders and archives that is not used."""
    for dataset in datasets:
        for note in getattr(getattr(dataset, "reader", None), "notes", []):
            print(f"note: {note}", file=sys.stderr)


def is_image_folder(dataset: str) -> bool:
    """Return whether a value of data.dataset means folders of images, with timm's or with torchvision's order."""
    return dataset == "" or dataset.lower() in TORCHVISION_FOLDERS


def open_dataset(config: DataConfig, split: str, *, is_training: bool, batch_size: int, seed: int) -> Any:
    """One split; images are not transformed yet.

    Raises:
        UserError: the folder is missing or empty, the class of an image is not clear, timm cannot open the data set, or
            it has other columns.
    """
    folder = Path(config.dir)
    if is_image_folder(config.dataset):
        folder = split_path(config.dir, split)
    elif config.download:
        folder.mkdir(parents=True, exist_ok=True)
    if config.dataset.startswith("wds/") and index_path(folder, split).is_file():
        return ImageDataset(str(folder), reader=_shard_reader(config, split))
    try:
        if is_image_folder(config.dataset):
            split_key = "data.train_split" if is_training else "data.val_split"
            return ImageDataset(str(folder), reader=_folder_reader(folder, split_key, config.dataset))
        if config.on_error == "skip" and config.dataset.startswith("wds/"):
            raise without_choice(config.dataset)
        dataset = create_dataset(
            config.dataset,
            root=str(folder),
            split=split,
            search_split=False,
            is_training=is_training,
            download=config.download,
            batch_size=batch_size,
            seed=seed,
            input_img_mode="",  # training.data.decoding converts them
            **column_arguments(config),
        )
    except UserError:
        raise
    except Exception as error:  # the libraries behind timm's data sets raise what they like
        check_columns(config, split)
        source = config.dataset or "images"
        can_download = source.startswith("torch/") and not config.download
        raise UserError(
            f"cannot open {source} in {folder}, split {split!r}: {printable(str(error) or type(error).__name__)}",
            "data.download=true fetches it (validate.py: --download)" if can_download else None,
            key="data.dataset",
        ) from error
    if hasattr(dataset, "loader"):  # torchvision's data sets of files
        dataset.loader = open_image
    check_columns(config, split, dataset)
    return dataset


def _shard_reader(config: DataConfig, split: str) -> ShardReader:
    for key in ("image_column", "label_column"):
        if getattr(config, key) is not None:
            raise UserError(
                f"the index of the shards in {printable(config.dir)} tells their images and labels",
                "remove it",
                key=f"data.{key}",
                on_every_rank=True,
            )
    return ShardReader(Path(config.dir), split)


def _folder_reader(path: Path, split_key: str, dataset: str) -> Any:
    if path.suffix == ".tar" and path.is_file():
        return ArchiveReader(path, split_key)
    return FolderReader(path, split_key, str if dataset else by_number_and_name)


def split_path(data_dir: str, split: str) -> Path:
    """Return the folder of a split, or where there is none SPLIT.tar, an archive of the same class folders."""
    folder = Path(data_dir, split)
    archive = Path(data_dir, f"{split}.tar")
    return archive if archive.is_file() and not folder.exists() else folder


def class_names(dataset: Any) -> list[str] | None:
    """Names in the order of their indices, or None where the data set does not know them."""
    reader = getattr(dataset, "reader", None)
    mapping = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)  # folder, archive
    if mapping:
        return sorted(mapping, key=lambda name: mapping[name])
    classes = getattr(dataset, "wnids", None) or getattr(dataset, "classes", None)  # ImageNet, torchvision's others
    return list(classes) if classes else None


def count_classes(train: Any, val: Any, requested: int | None) -> int:
    """Return the number of classes of the model's output.

    Raises:
        UserError: the splits differ in their classes, there are more classes than requested, or nobody knows.
    """
    names, val_names = class_names(train), class_names(val)
    if names and val_names and names != val_names:
        odd = names_in_one_only(names, val_names)
        raise UserError(
            f"the training split has {len(names)} classes and the validation split {len(val_names)}",
            f"only one of them has: {odd}" if odd else "they are the same, but in another order",
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
