"""From the official archives to a trained epoch, with all that can happen on the way."""

import csv
import os
import resource
import signal
from functools import partial
from pathlib import Path

import prepare_imagenet
import pytest
from interruptions import interrupted
from official_archives import jpeg, write_archives

import train
from training.data.preparation.archives import ARCHIVES

SMALL = "--no-expect-imagenet"


@pytest.fixture
def archives(tmp_path) -> Path:
    return write_archives(tmp_path / "archives", train=12, val=5, size=(64, 48))


def main(*arguments: object) -> None:
    prepare_imagenet.main([*map(str, arguments), "--workers", "1"])


def refusal(capsys, *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(*arguments)
    error = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error: ")]
    assert stop.value.code == 1 and len(error) == 1
    return error[0]


@pytest.mark.parametrize(
    "layout, dataset", [([], []), (["--shards", "--images-per-shard", "10"], ["data.dataset=wds/imagenet"])]
)
def test_from_the_archives_to_a_trained_epoch_with_two_interruptions(
    archives, tmp_path, tiny_config, capfd, layout, dataset
) -> None:
    out = tmp_path / "imagenet"
    command = partial(main, out, "--archives", archives, SMALL, "--max-size", 32, "--verify", *layout)
    assert interrupted(command, signal.SIGKILL, images=15) == -signal.SIGKILL
    assert interrupted(command, signal.SIGTERM, images=15) == 130
    assert "interrupted; what is finished is kept, and the same command continues" in capfd.readouterr().err
    command()
    lines = [line for line in capfd.readouterr().out.splitlines() if "images of" in line]
    assert lines == [
        "train: 36 images of 3 classes",
        "val: 15 images of 3 classes",
        "train: 36 images of 3 classes: 0 broken, 0 CMYK, 0 no JPEG",
        "val: 15 images of 3 classes: 0 broken, 0 CMYK, 0 no JPEG",
    ]
    assert not list(out.rglob("*.partial")) and not list(out.glob("train/.*"))
    overrides = [f"data.dir={out}", *dataset, "checkpoint.name=run", "schedule.epochs=1"]
    train.main(["--config", str(tiny_config()), *overrides])
    with (tmp_path / "output" / "run" / "metrics.csv").open() as file:
        assert [row["updates"] for row in csv.DictReader(file)] == ["3"]


def test_a_broken_archive_or_a_missing_kit_is_one_line_and_nothing_is_lost(archives, tmp_path, capsys) -> None:
    out, val = tmp_path / "out", archives / ARCHIVES["val"]
    whole = val.read_bytes()
    val.write_bytes(whole[: len(whole) // 2])
    arguments = (out, "--archives", archives, SMALL)
    assert "ILSVRC2012_img_val.tar is damaged" in refusal(capsys, *arguments)
    assert len(list((out / "train").glob("*/*"))) == 36 and not (out / "val").exists()
    val.unlink()
    assert refusal(capsys, *arguments).endswith("download it, or give --split train to go without")
    assert "ImageNet's train has 1281167 of 1000" in refusal(capsys, tmp_path / "other", "--archives", archives)
    times = {file: os.stat(file).st_mtime_ns for file in (out / "train").glob("*/*")}
    val.write_bytes(whole)
    main(*arguments)
    assert "val: 15 images" in capsys.readouterr().out
    assert {file: os.stat(file).st_mtime_ns for file in times} == times


@pytest.mark.parametrize("layout, room", [([], 8_000), (["--shards", "--images-per-shard", "12"], 35_000)])
def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path, capsys, layout, room) -> None:
    """One image is larger than files may be, as on a disk that is full by then."""
    archives = write_archives(
        tmp_path / "archives", train=12, val=5, replaced={"n02085620_18.JPEG": jpeg(0, (400, 300))}
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        error = refusal(capsys, tmp_path / "out", "--archives", archives, SMALL, *layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.startswith("error: cannot write") and ("File too large" in error)
    main(tmp_path / "out", "--archives", archives, SMALL, *layout, "--verify")
    assert "train: 36 images of 3 classes: 0 broken" in capsys.readouterr().out


def test_a_folder_that_is_there_is_verified(image_folder, capsys) -> None:
    main(image_folder, "--verify", SMALL)
    assert "train: 36 images of 3 classes: 0 broken, 0 CMYK, 36 no JPEG" in capsys.readouterr().out
    (image_folder / "val" / "top" / "0.png").write_bytes(b"broken")
    assert refusal(capsys, image_folder, "--verify", SMALL) == (
        "error: 1 of 51 images are broken; replace or remove these files"
    )
    assert "and ImageNet's val has 50000" in refusal(capsys, image_folder, "--verify", "--split", "val")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --archives to prepare images, --verify to look through those in OUT"),
        (["--verify", "--max-size", "0"], "'0' is no whole number from 16 to 8192"),
        (["--verify", "--quality", "101"], "'101' is no whole number from 1 to 100"),
        (["--verify", "--images-per-shard", "x"], "'x' is no whole number from 1 to 1000000"),
    ],
)
def test_wrong_options_are_refused(tmp_path, capsys, arguments, message) -> None:
    with pytest.raises(SystemExit) as stop:
        main(tmp_path, *arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_the_help_names_the_archives(capsys) -> None:
    with pytest.raises(SystemExit):
        main("--help")
    assert ARCHIVES["train"] in capsys.readouterr().out
