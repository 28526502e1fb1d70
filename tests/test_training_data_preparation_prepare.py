import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from official_archives import write_archives
from PIL import Image

from dcls.errors import UserError
from training.data.preparation.archives import ARCHIVES
from training.data.preparation.devkit import DEVKIT
from training.data.preparation.prepare import RECORD, Preparation, prepare
from training.data.preparation.size_limit import SizeLimit
from training.data.shards import ShardReader
from training.run_lock import run_lock


@pytest.fixture
def preparation(tmp_path) -> Preparation:
    archives = write_archives(tmp_path / "archives", train=2, val=1)
    return Preparation(
        archives,
        tmp_path / "out",
        ("train", "val"),
        images_per_shard=None,
        limit=SizeLimit(None, 95),
        workers=1,
        expect_imagenet=False,
    )


def test_folders_or_shards_are_made_once(preparation, capsys) -> None:
    prepare(preparation)
    assert capsys.readouterr().out.splitlines() == ["train: 6 images of 3 classes", "val: 3 images of 3 classes"]
    assert len(list((preparation.out / "train").glob("*/*.JPEG"))) == 6
    prepare(preparation)
    assert capsys.readouterr().out.splitlines() == ["train: finished before", "val: finished before"]
    shards = replace(preparation, out=preparation.out / "shards", images_per_shard=4)
    prepare(shards)
    assert [len(ShardReader(shards.out, split)) for split in ("train", "val")] == [6, 3]
    assert sorted(path.name for path in shards.out.iterdir()) == [
        "_info.json", RECORD, "train-00000.tar", "train-00001.tar", "train-index.npz", "val-00000.tar", "val-index.npz",
    ]  # fmt: skip


def test_one_split_can_be_prepared_alone(preparation, capsys) -> None:
    (preparation.archives / ARCHIVES["train"]).unlink()
    with pytest.raises(UserError, match="give --split val to go without"):
        prepare(preparation)
    prepare(replace(preparation, splits=("val",)))
    assert "val: 3 images of 3 classes" in capsys.readouterr().out


def test_nothing_is_written_of_what_is_not_imagenet_unless_it_is_meant(preparation) -> None:
    with pytest.raises(UserError, match="holds 6 images of 3 classes, and ImageNet's train has 1281167 of 1000"):
        prepare(replace(preparation, expect_imagenet=True))
    assert not list(preparation.out.glob("train*"))


def test_a_preparation_is_continued_in_the_same_way_only(preparation) -> None:
    prepare(preparation)
    for change, message in (
        (
            {"limit": SizeLimit(32, 95)},
            r"train in .*/out was begun with max_size null, and now it is 32; give the same, or",
        ),
        ({"images_per_shard": 4}, r'was begun with layout "folders", and now it is "shards"'),
    ):
        with pytest.raises(UserError, match=message):
            prepare(replace(preparation, **change))
    prepare(replace(preparation, limit=SizeLimit(None, 50)))  # of which nothing depends
    write_archives(preparation.archives, train=9, val=1)
    shutil.rmtree(preparation.out / "train")
    with pytest.raises(UserError, match=r"was begun with bytes of ILSVRC2012_img_train.tar \d+, and now it is \d+"):
        prepare(preparation)
    assert json.loads((preparation.out / RECORD).read_text())["val"]["layout"] == "folders"


def test_training_images_can_be_made_smaller_and_validation_images_left_as_they_are(preparation, capsys) -> None:
    prepare(replace(preparation, splits=("train",), limit=SizeLimit(20, 95)))
    prepare(replace(preparation, splits=("val",)))
    sizes = {
        split: {Image.open(file).size for file in preparation.out.glob(f"{split}/*/*")} for split in ("train", "val")
    }
    assert sizes == {"train": {(25, 20)}, "val": {(40, 32)}}


def test_images_of_somebody_else_are_left_alone(preparation) -> None:
    (preparation.out / "train").mkdir(parents=True)
    with pytest.raises(UserError, match="holds train already, which this script has not made; name another folder"):
        prepare(preparation)
    assert [path.name for path in preparation.out.iterdir()] == ["train"]


def test_two_do_not_write_to_one_folder(preparation) -> None:
    with (
        run_lock(preparation.out),
        pytest.raises(UserError, match=r"^\S*/out is in use by process .*; wait for its end, or name another folder$"),
    ):
        prepare(preparation)


def test_what_was_finished_survives_a_missing_devkit(preparation, capsys) -> None:
    (preparation.archives / DEVKIT).rename(preparation.archives / "later")
    with pytest.raises(UserError, match=f"no {DEVKIT} in"):
        prepare(preparation)
    (preparation.archives / "later").rename(preparation.archives / DEVKIT)
    capsys.readouterr()
    prepare(preparation)
    assert capsys.readouterr().out.splitlines() == ["train: finished before", "val: 3 images of 3 classes"]


def test_a_folder_that_cannot_be_written_is_named(preparation, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write to .*/file/out: "):
        prepare(replace(preparation, out=Path(tmp_path / "file" / "out")))
