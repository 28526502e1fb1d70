"""Shards with an index: the same images, batches, weights and scores as those of their folder."""

import csv
import os
import pickle
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from official_archives import CLASSES, jpeg, write_archives
from safetensors.torch import load_file
from test_training_data_splits import PREPROCESSING

import train
import training.data.shards
from dcls.checkpoints.reading import read_description
from dcls.errors import UserError
from training.config import AugmentationConfig, DataConfig
from training.data.batches import BatchPlan
from training.data.decoding import Decoding
from training.data.loaders import epoch_batches, evaluation_loader, samples_of, training_loader
from training.data.preparation.prepare import Preparation, prepare
from training.data.preparation.size_limit import SizeLimit
from training.data.shards import ShardReader, index_path
from training.data.splits import class_names, open_dataset
from training.processes.distributed import DistributedContext

WDS = "wds/imagenet"


def prepared(folder: Path, **archives) -> tuple[Path, Path]:
    """Return a folder of images and one of their shards, 12 and 5 images of three classes."""
    sources = write_archives(folder / "archives", **archives)
    for name, images_per_shard in (("folders", None), ("shards", 8)):
        as_it_is = SizeLimit(None, 95)
        prepare(Preparation(sources, folder / name, ("train", "val"), images_per_shard, as_it_is, 1, False))
    return folder / "folders", folder / "shards"


def opened(folder: Path, split: str = "train", dataset: str = WDS, **options):
    config = DataConfig(dir=str(folder), dataset=dataset, num_workers=0, **options)
    return open_dataset(config, split, is_training=split == "train", batch_size=4, seed=0)


def run(config: Path, name: str, *overrides: str) -> None:
    train.main(["--config", str(config), f"checkpoint.name={name}", *overrides])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if "loss" in k or "top" in k} for row in csv.DictReader(file)]


def test_training_on_shards_gives_the_weights_of_the_folder_to_the_bit(tiny_config, tmp_path) -> None:
    folder, shards = prepared(tmp_path)
    config = tiny_config(augmentation="{mixup: 0.8, cutmix: 1.0}")
    run(config, "folder", f"data.dir={folder}")
    for workers in (0, 2):
        run(config, f"workers-{workers}", f"data.dir={shards}", f"data.dataset={WDS}", f"data.num_workers={workers}")
        ours, theirs = (
            load_file(tmp_path / "output" / name / "model.safetensors") for name in (f"workers-{workers}", "folder")
        )
        assert ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in theirs)
        assert rows(tmp_path / "output" / f"workers-{workers}") == rows(tmp_path / "output" / "folder")
    assert read_description(tmp_path / "output" / "workers-0" / "model.safetensors").classes == tuple(CLASSES)


@pytest.mark.parametrize("workers", [0, 1])
def test_each_of_two_processes_trains_on_the_batches_of_the_folder(tmp_path, workers) -> None:
    folder, shards = prepared(tmp_path)

    def batches(where: Path, dataset: str, rank: int) -> list[torch.Tensor]:
        data = DataConfig(dir=str(where), dataset=dataset, num_workers=workers)
        plan, distributed = BatchPlan(8, 2, 2), DistributedContext(rank, 2, torch.device("cpu"))
        images = opened(where, "train", dataset)
        loader = training_loader(images, data, AugmentationConfig(), PREPROCESSING, plan, distributed, seed=0)
        return [
            tensor
            for epoch in range(2)
            for batch in islice(epoch_batches(loader, epoch, 0), len(loader))
            for tensor in batch
        ]

    for rank in range(2):
        ours, theirs = batches(shards, WDS, rank), batches(folder, "", rank)
        assert len(ours) == 2 * 2 * 8 and all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("world_size, workers", [(1, 0), (1, 2), (2, 1), (4, 0)])
def test_every_image_is_evaluated_exactly_once(tmp_path, world_size, workers) -> None:
    folder, shards = prepared(tmp_path)

    def seen(where: Path, dataset: str, rank: int, of: int) -> list[tuple[float, int]]:
        data = DataConfig(dir=str(where), dataset=dataset, num_workers=workers, val_batch_size=4)
        distributed = DistributedContext(rank, of, torch.device("cpu"))
        loader = evaluation_loader(opened(where, "val", dataset), data, PREPROCESSING, distributed)
        return [
            pair
            for images, targets in loader
            for pair in zip(images.sum((1, 2, 3)).tolist(), targets.tolist(), strict=True)
        ]

    shares = [seen(shards, WDS, rank, world_size) for rank in range(world_size)]
    assert (
        sorted(pair for share in shares for pair in share) == sorted(seen(folder, "", 0, 1))
        and sum(map(len, shares)) == 15
    )


def test_images_have_the_names_and_classes_of_the_folder(tmp_path) -> None:
    folder, shards = prepared(tmp_path, train=3, val=1)
    ours, theirs = opened(shards), opened(folder, dataset="")
    assert class_names(ours) == class_names(theirs) == CLASSES
    assert ours.filenames(basename=True) == theirs.filenames(basename=True)
    assert ours.filename(0) == "n01440764/n01440764_7.JPEG" == theirs.filename(0)
    assert ours.filename(0, absolute=True).endswith(".tar: n01440764/n01440764_7.JPEG")


def test_a_broken_image_is_named_with_its_shard_and_another_one_can_take_its_place(tmp_path) -> None:
    _, shards = prepared(tmp_path, train=3, val=1, replaced={"n01440764_8.JPEG": jpeg(0)[:300]})
    dataset = opened(shards, on_error="skip")
    error = samples_of(dataset, np.asarray, Decoding(), seed=0)[0, 1]
    assert isinstance(error, UserError) and ".tar: n01440764/n01440764_8.JPEG" in error.problem
    replaced = samples_of(dataset, np.asarray, Decoding(), seed=0, replaces=True)[0, 1]
    assert isinstance(replaced[2], UserError)


def test_shards_without_an_index_have_no_other_image_at_hand(tmp_path) -> None:
    with pytest.raises(UserError, match="wds/imagenet is read in one go, without a choice; set stop"):
        opened(tmp_path, on_error="skip")


def test_columns_are_those_of_the_index(tmp_path) -> None:
    _, shards = prepared(tmp_path, train=1, val=1)
    for key in ("image_column", "label_column"):
        with pytest.raises(UserError, match=f"data.{key}: the index of the shards in .* tells their images and labels"):
            opened(shards, **{key: "x"})


def test_damaged_missing_or_other_files_are_named(tmp_path) -> None:
    _, shards = prepared(tmp_path, train=3, val=1)
    shard, index = shards / "train-00001.tar", index_path(shards, "train")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"shard {shard} has {len(content) - 1} bytes, its index says {len(content)}"):
        opened(shards)
    shard.unlink()
    with pytest.raises(UserError, match=rf"shard {shard} is missing; copy it again"):
        opened(shards)
    shard.write_bytes(content)
    whole = index.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", bytes([*whole[:200], whole[200] ^ 1, *whole[201:]])):
        index.write_bytes(damaged)
        with pytest.raises(UserError, match=f"cannot read {index}: "):
            opened(shards)


def test_a_shard_that_shrinks_in_a_run_is_an_unreadable_image(tmp_path) -> None:
    _, shards = prepared(tmp_path, train=3, val=1)
    reader = ShardReader(shards, "train")
    for shard in shards.glob("train-*.tar"):
        os.truncate(shard, 100)
    with pytest.raises(OSError, match="its shard ends before it"):
        reader[0]


def test_a_reader_goes_to_other_processes_and_keeps_few_files_open(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(training.data.shards, "_MOST_OPEN_FILES", 2)
    _, shards = prepared(tmp_path)
    reader = ShardReader(shards, "train")
    before = len(os.listdir("/proc/self/fd"))
    first = [reader[index][0].read() for index in range(len(reader))]
    assert len(reader.index.shards) > 2 and len(os.listdir("/proc/self/fd")) == before + 2
    other = pickle.loads(pickle.dumps(reader))
    assert [other[index][0].read() for index in range(len(other))] == first
    del reader, other
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_index_has_no_object_an_image(tmp_path) -> None:
    _, shards = prepared(tmp_path, train=2, val=1)
    index = ShardReader(shards, "train").index
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in vars(index).values())
    assert sum(array.itemsize for array in (index.labels, index.shard, index.offsets, index.sizes)) == 16
