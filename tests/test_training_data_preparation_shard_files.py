import json
import os
import resource
import signal
import tarfile
from functools import partial

import pytest
from interruptions import interrupted
from official_archives import CLASSES, jpeg, tar_of, write_archives

from dcls.errors import UserError
from training.data.preparation.archives import find_images
from training.data.preparation.shard_files import write_shards
from training.data.preparation.size_limit import SizeLimit
from training.data.shards import ShardReader, index_path

AS_IT_IS = SizeLimit(None, 95)


@pytest.fixture
def images(tmp_path):
    return find_images(write_archives(tmp_path / "archives", train=4, val=2), "train", workers=1)


def content(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def test_shards_read_as_their_archive(tmp_path, images) -> None:
    write_shards(images, tmp_path, "train", AS_IT_IS, images_per_shard=5, workers=2)
    reader = ShardReader(tmp_path, "train")
    assert len(reader) == 12 and list(reader.class_to_idx) == CLASSES and reader.index.shards.tolist() == [
        "train-00000.tar", "train-00001.tar", "train-00002.tar",
    ]  # fmt: skip
    for index, source in images.read(range(len(images))):
        file, label = reader[index]
        assert (file.read(), label) == (source, images.labels[index])


def test_training_images_are_shuffled_over_shards_and_validation_images_are_not(tmp_path, images) -> None:
    write_shards(images, tmp_path, "train", AS_IT_IS, images_per_shard=6, workers=1)
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        assert {name.partition("/")[0] for name in tar.getnames()} == set(CLASSES)
    val = find_images(tmp_path / "archives", "val", workers=1)
    write_shards(val, tmp_path, "val", AS_IT_IS, images_per_shard=6, workers=1)
    assert ShardReader(tmp_path, "val").index.offsets.tolist() == sorted(ShardReader(tmp_path, "val").index.offsets)


def test_timms_reader_of_webdatasets_reads_the_same_images_and_labels(tmp_path, images) -> None:
    pytest.importorskip("webdataset")
    from timm.data.readers.reader_wds import ReaderWds

    for split in ("train", "val"):
        found = find_images(tmp_path / "archives", split, workers=1)
        write_shards(found, tmp_path, split, AS_IT_IS, images_per_shard=5, workers=1)
    reader = ReaderWds(str(tmp_path), split="val")
    assert len(reader) == 6 and sorted(label for _, label in reader) == [0, 0, 1, 1, 2, 2]
    info = json.loads((tmp_path / "_info.json").read_text())["splits"]
    assert info["train"]["shard_lengths"] == [5, 5, 2] and info["val"]["num_samples"] == 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_shards_are_whole_or_not_there_and_are_completed(tmp_path, images, number, capsys) -> None:
    for name in ("straight", "out"):
        (tmp_path / name).mkdir()
    write_shards(images, tmp_path / "straight", "train", AS_IT_IS, images_per_shard=4, workers=1)
    expected, out = content(tmp_path / "straight"), tmp_path / "out"
    write = partial(write_shards, images, out, "train", AS_IT_IS, 4, 1)
    for images_until_then, whole in ((6, 1), (5, 2)):
        assert interrupted(write, number, images_until_then) != 0
        tars = {name: data for name, data in content(out).items() if name.endswith(".tar")}
        assert len(tars) == whole and all(expected[name] == data for name, data in tars.items())
        assert not index_path(out, "train").exists()
    times = {name: os.stat(out / name).st_mtime_ns for name in tars}
    capsys.readouterr()
    write()
    assert "12/12" in capsys.readouterr().err
    assert {name: os.stat(out / name).st_mtime_ns for name in tars} == times
    assert {name: data for name, data in content(out).items() if name != "train-index.npz"} == {
        name: data for name, data in expected.items() if name != "train-index.npz"
    }
    assert len(ShardReader(out, "train")) == 12


def test_a_full_disk_leaves_whole_shards_only(tmp_path, images) -> None:
    """Files may grow to 4 images, as on a disk that is full then; the last shard is smaller."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))
    try:
        with pytest.raises(
            UserError, match=r"cannot write .*/train-0000\d.tar: .*; is the disk full\? What is finished is kept"
        ):
            write_shards(images, tmp_path, "train", AS_IT_IS, images_per_shard=11, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert set(os.listdir(tmp_path)) <= {"archives", "train-00001.tar"}  # the smaller one may have been finished before
    write_shards(images, tmp_path, "train", AS_IT_IS, images_per_shard=11, workers=1)
    assert len(ShardReader(tmp_path, "train")) == 12


def test_a_shard_with_other_images_is_named(tmp_path, images) -> None:
    (tmp_path / "train-00001.tar").write_bytes(tar_of({"x.jpg": jpeg(0), "x.cls": b"0"}))
    with pytest.raises(UserError, match=r"train-00001.tar holds other images than it should; remove it"):
        write_shards(images, tmp_path, "train", AS_IT_IS, images_per_shard=5, workers=1)
    assert not index_path(tmp_path, "train").exists()


def test_remarks_name_the_image(tmp_path, capsys) -> None:
    write_archives(tmp_path, train=2, val=1, replaced={"n01440764_8.JPEG": jpeg(0, (80, 64), kind="PNG")})
    found = find_images(tmp_path, "train", workers=1)
    write_shards(found, tmp_path, "train", SizeLimit(32, 95), images_per_shard=50, workers=1)
    assert "n01440764_8.JPEG: no JPEG: PNG; made smaller it is an RGB JPEG" in capsys.readouterr().out
