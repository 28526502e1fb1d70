import gzip
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
from hugging_face_table import quickstart_images, write_table
from PIL import Image

from dcls.checkpoints.description import Preprocessing
from dcls.errors import UserError
from scripts.make_quickstart_data import add_file
from training.config import AugmentationConfig, DataConfig
from training.data.batches import BatchPlan
from training.data.loaders import evaluation_loader, training_loader
from training.data.splits import class_names, count_classes, open_dataset
from training.processes.distributed import DistributedContext

ALONE = DistributedContext(rank=0, world_size=1, device=torch.device("cpu"))
PREPROCESSING = Preprocessing((3, 32, 32), "bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)


def opened(config: DataConfig, split: str = "train", is_training: bool = True):
    return open_dataset(config, split, is_training=is_training, batch_size=4, seed=0)


def test_missing_and_empty_folders_are_named(image_folder, tmp_path) -> None:
    with pytest.raises(UserError, match=r"data.dir: no folder .*nowhere/train"):
        opened(DataConfig(dir=str(tmp_path / "nowhere")))
    (tmp_path / "flat" / "train").mkdir(parents=True)
    with pytest.raises(UserError, match=r"flat/train holds no class folders"):
        opened(DataConfig(dir=str(tmp_path / "flat")))
    for file in (image_folder / "train" / "middle").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"class folder .*train/middle holds no image"):
        opened(DataConfig(dir=str(image_folder)))


def test_a_folder_of_splits_is_not_taken_for_a_folder_of_classes(image_folder) -> None:
    with pytest.raises(UserError, match=r"is not a split: its folder train holds no images itself, but .*train/"):
        opened(DataConfig(dir=str(image_folder)), ".")


def test_wrong_numbers_of_classes_are_named(image_folder) -> None:
    data = DataConfig(dir=str(image_folder))
    with pytest.raises(UserError, match=r"model.num_classes: 10, but the data set has 3 classes"):
        count_classes(opened(data), opened(data, "val", False), 10)
    shutil.rmtree(image_folder / "val" / "top")
    with pytest.raises(UserError, match=r"training split has 3 classes and the validation split 2; .*: top"):
        count_classes(opened(data), opened(data, "val", False), None)


def test_unknown_data_sets_are_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"data.dataset: cannot open torch/cifar1000 .*cifar1000"):
        opened(DataConfig(dir=str(tmp_path), dataset="torch/cifar1000"))
    with pytest.raises(UserError, match=r"data.dataset: cannot open torch/cifar10 .*download"):
        opened(DataConfig(dir=str(tmp_path), dataset="torch/cifar10"))


def test_torchvision_data_set(tmp_path) -> None:
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw")
    data = DataConfig(dir=str(tmp_path), dataset="torch/fashion_mnist", num_workers=0)
    train, val = opened(data), opened(data, "val", False)
    assert (len(train), len(val), count_classes(train, val, None)) == (20, 10, 10)
    loader = training_loader(train, data, AugmentationConfig(), PREPROCESSING, BatchPlan(4, 4, 1), ALONE, seed=0)
    assert next(iter(loader))[0].shape == (4, 3, 32, 32)


def write_fashion_mnist(folder) -> None:
    folder.mkdir(parents=True)
    for split, count in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(0).integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, array, magic in (("images-idx3", pixels, 2051), ("labels-idx1", labels, 2049)):
            header = np.array([magic, *array.shape], ">i4").tobytes()
            path = folder / f"{split}-{kind}-ubyte"
            path.write_bytes(header + array.tobytes())
            with gzip.open(f"{path}.gz", "wb") as file:
                file.write(path.read_bytes())


def test_archive_is_read_as_its_folder(image_folder) -> None:
    config = DataConfig(dir=str(image_folder), num_workers=2)
    read = {split: read_all(opened(config, split)) for split in ("train", "val")}
    for split in ("train", "val"):
        with tarfile.open(image_folder / f"{split}.tar", "w") as archive:
            archive.add(image_folder / split, ".")
        shutil.rmtree(image_folder / split)
    archives = opened(config), opened(config, "val", False)
    assert class_names(archives[0]) == class_names(archives[1]) == ["bottom", "middle", "top"]
    assert count_classes(*archives, None) == 3
    assert read == {"train": read_all(archives[0]), "val": read_all(archives[1])}
    archives = opened(config), opened(config, "val", False)  # not yet read in this process, as in a run
    loader = training_loader(
        archives[0], config, AugmentationConfig(), PREPROCESSING, BatchPlan(12, 12, 1), ALONE, seed=0
    )
    assert sum(len(targets) for _, targets in loader) == 36


def read_all(dataset) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in dataset]


def test_broken_archive(image_folder) -> None:
    shutil.rmtree(image_folder / "val")
    (image_folder / "val.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(UserError, match="cannot open images in .*val.tar"):
        opened(DataConfig(dir=str(image_folder)), "val", False)


def test_hugging_face_data_set(tmp_path, monkeypatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    by_class = quickstart_images()
    names = list(by_class)
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    for split, count in (("train", 2), ("validation", 1)):
        images = [{"path": None, "bytes": png} for name in names for png in by_class[name][:count]]
        labels = [names.index(name) for name in names for _ in range(count)]
        table = datasets.Dataset.from_dict({"image": images, "label": labels}, features=kinds)
        table.to_parquet(tmp_path / "hub" / f"{split}.parquet")
    data = DataConfig(
        dir=str(tmp_path / "cache"), dataset=f"hfds/{tmp_path / 'hub'}", val_split="validation", num_workers=0
    )
    train, val = opened(data), opened(data, "validation", False)
    assert (len(train), len(val), count_classes(train, val, None)) == (20, 10, 10)
    images, targets = next(iter(evaluation_loader(val, data, PREPROCESSING, ALONE)))
    assert images.shape == (10, 3, 32, 32) and sorted(targets.tolist()) == list(range(10))


def test_columns_of_a_hugging_face_data_set_have_keys_and_are_named_in_errors(tmp_path) -> None:
    name = write_table(tmp_path, "train", [0, 1, 2], image="img", label="labels")
    right = {"image_column": "img", "label_column": "labels"}
    data = DataConfig(dir=str(tmp_path / "cache"), dataset=name, num_workers=0, **right)
    images, targets = next(iter(evaluation_loader(opened(data), data, PREPROCESSING, ALONE)))
    assert images.shape == (3, 3, 32, 32) and targets.tolist() == [0, 1, 2]
    for key, wrong in (("image_column", "image"), ("label_column", "label")):
        data = DataConfig(dir=str(tmp_path / "cache"), dataset=name, **(right | {key: None}))
        with pytest.raises(
            UserError, match=f"data.{key}: the data set has no column '{wrong}'; choose from img, labels, source"
        ):
            opened(data)
    with pytest.raises(ValueError, match=r"data.image_column: only data sets of hfds/ .* have columns"):
        DataConfig(dir="x", image_column="img")


def test_a_webdataset_has_keys_for_its_files_and_entries(tmp_path) -> None:
    pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "val-0000.tar", "w") as archive:
        for label, images in enumerate(quickstart_images().values()):
            add_file(archive, f"{label}.photo.png", images[0])
            add_file(archive, f"{label}.json", json.dumps({"kind": label, "color": "red"}).encode())
    info = {"name": "val", "num_samples": 10, "filenames": ["val-0000.tar"], "shard_lengths": [10]}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"val": info}}))
    right = {"image_column": "photo.png", "label_column": "kind"}

    def data(**changes) -> DataConfig:
        return DataConfig(dir=str(tmp_path), dataset="wds/x", num_workers=0, **(right | changes))

    images, targets = next(iter(evaluation_loader(opened(data(), "val", False), data(), PREPROCESSING, ALONE)))
    assert images.shape == (10, 3, 32, 32) and targets.tolist() == list(range(10))
    for changes, message in (
        (
            {"image_column": "image"},
            "data.image_column: the data set has no column 'image'; choose from photo.png, json",
        ),
        ({"label_column": "class"}, "data.label_column: the data set has no column 'class'; choose from kind, color"),
        ({"label_column": None}, "data.label_column: the data set has no column 'cls'; choose from photo.png, json"),
    ):
        with pytest.raises(UserError, match=message):
            opened(data(**changes), "val", False)


def test_pictures_of_a_webdataset_are_decoded_as_those_of_folders(tmp_path) -> None:
    pytest.importorskip("webdataset")
    deep, floats = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.full((32, 32), 51 * 256, np.uint16)).save(deep, "PNG")
    Image.fromarray(np.full((32, 32), 0.5, np.float32)).save(floats, "TIFF")
    for split, suffix, content in (("train", "png", deep), ("val", "tif", floats)):
        with tarfile.open(tmp_path / f"{split}-0000.tar", "w") as archive:
            add_file(archive, f"0.{suffix}", content.getvalue())
            add_file(archive, "0.cls", b"0")
    splits = {
        split: {"name": split, "num_samples": 1, "filenames": [f"{split}-0000.tar"], "shard_lengths": [1]}
        for split in ("train", "val")
    }
    (tmp_path / "_info.json").write_text(json.dumps({"splits": splits}))
    for num_workers in (0, 1):
        data = DataConfig(dir=str(tmp_path), dataset="wds/x", num_workers=num_workers)
        ((images, _),) = evaluation_loader(opened(data, "train", False), data, PREPROCESSING, ALONE)
        torch.testing.assert_close(images, torch.full_like(images, (0.2 - 0.5) / 0.5))
        with pytest.raises(UserError, match="cannot decode image of the data set: its pixels are floating"):
            list(evaluation_loader(opened(data, "val", False), data, PREPROCESSING, ALONE))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_picture_of_a_webdataset_stops_training_and_evaluation(tmp_path, num_workers) -> None:
    pytest.importorskip("webdataset")
    write_shards(tmp_path)
    for split in ("train", "val"):
        with tarfile.open(tmp_path / f"{split}-0000.tar", "a") as archive:
            add_file(archive, "x.png", b"broken")
            add_file(archive, "x.cls", b"0")
    data = DataConfig(dir=str(tmp_path), dataset="wds/quickstart", num_workers=num_workers)
    loader = training_loader(opened(data), data, AugmentationConfig(), PREPROCESSING, BatchPlan(4, 4, 1), ALONE, seed=0)
    with pytest.raises(UserError, match="cannot decode image of the data set: cannot identify image file"):
        for _ in range(5):  # the order is random, and an epoch is as long as without the broken one
            list(loader)
    for rank in (0, 1):
        distributed = DistributedContext(rank, 2, torch.device("cpu"))
        with pytest.raises(UserError, match="cannot decode image of the data set: cannot identify image file"):
            list(evaluation_loader(opened(data, "val", False), data, PREPROCESSING, distributed))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_webdataset_shards(tmp_path) -> None:
    pytest.importorskip("webdataset")
    write_shards(tmp_path)
    data = DataConfig(dir=str(tmp_path), dataset="wds/quickstart", num_workers=0)
    train, val = opened(data), opened(data, "val", False)
    with pytest.raises(UserError, match="does not tell its number of classes"):
        count_classes(train, val, None)
    assert count_classes(train, val, 10) == 10
    loader = training_loader(train, data, AugmentationConfig(), PREPROCESSING, BatchPlan(8, 4, 2), ALONE, seed=0)
    images, targets = next(iter(loader))
    assert images.shape == (4, 3, 32, 32) and targets.max() < 10
    expected = sorted(label for label in range(10) for _ in range(2))
    for world_size, num_workers in ((1, 0), (1, 3), (2, 0), (3, 2)):
        data = DataConfig(dir=str(tmp_path), dataset="wds/quickstart", num_workers=num_workers)
        seen = []
        for rank in range(world_size):
            distributed = DistributedContext(rank, world_size, torch.device("cpu"))
            loader = evaluation_loader(opened(data, "val", False), data, PREPROCESSING, distributed)
            assert len(loader.dataset) == 20
            seen += [t for _, ts in loader for t in ts.tolist()]
        assert sorted(seen) == expected, (world_size, num_workers)


def write_shards(folder) -> None:
    by_class = quickstart_images()
    info = {}
    for split, count in (("train", 4), ("val", 2)):
        with tarfile.open(folder / f"{split}-0000.tar", "w") as archive:
            for label, (name, images) in enumerate(by_class.items()):
                for index, png in enumerate(images[:count]):
                    stem = f"{name}-{index:05d}"
                    add_file(archive, f"{stem}.png", png)
                    add_file(archive, f"{stem}.cls", str(label).encode())
        info[split] = {
            "name": split, "num_samples": 10 * count, "filenames": [f"{split}-0000.tar"], "shard_lengths": [10 * count],
        }  # fmt: skip
    (folder / "_info.json").write_text(json.dumps({"splits": info}))
