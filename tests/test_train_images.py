"""Whole runs on images of all kinds: broken ones, other shapes, other classes, other layouts."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from hugging_face_table import write_table
from PIL import Image
from processes import run_script
from safetensors.torch import load_file

import train
import validate
from dcls.checkpoints.reading import read_description
from training.metrics import MetricsLogger

SKIP = ("data.on_error=skip", "data.max_skipped=0.1")


def run(config: Path, name: str, *overrides: str) -> None:
    train.main(["--config", str(config), f"checkpoint.name={name}", "checkpoint.resume=auto", *overrides])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [
            {k: v for k, v in row.items() if "per_second" not in k and k != "train_waiting"}
            for row in csv.DictReader(file)
        ]


def scores(capsys, *arguments) -> dict:
    capsys.readouterr()
    validate.main([*map(str, arguments), "--workers", "0", "--device", "cpu"])
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def refusal(capsys, call, *arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        call([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert stop.value.code == 1 and "Traceback" not in error
    return error


def break_two(image_folder: Path) -> None:
    (image_folder / "train" / "top" / "0.png").write_bytes(b"broken")
    (image_folder / "train" / "bottom" / "5.png").write_bytes(b"")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_skips_broken_images_is_the_same_after_a_continuation(
    tiny_config, image_folder, tmp_path, monkeypatch, capsys, workers
) -> None:
    break_two(image_folder)
    config, output = tiny_config(), tmp_path / "output"
    overrides = (*SKIP, f"data.num_workers={workers}")
    run(config, "straight", *overrides)
    assert [row["train_replaced"] for row in rows(output / "straight")] == ["2", "2"]
    named = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: cannot decode image")]
    assert len(named) == 2
    original = MetricsLogger.update

    def stop(self, step):
        original(self, step)
        if step.update == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLogger, "update", stop)
        with pytest.raises(SystemExit):
            run(config, "stopped", *overrides)
    run(config, "stopped", *overrides)
    ours, theirs = (load_file(output / name / "model.safetensors") for name in ("stopped", "straight"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert rows(output / "stopped") == rows(output / "straight")


def test_two_processes_skip_and_count_as_one(tiny_config, image_folder, tmp_path) -> None:
    break_two(image_folder)
    config, output = tiny_config(), tmp_path / "output"
    run(config, "one", *SKIP)
    result = run_script("train.py", "--config", config, "checkpoint.name=two", *SKIP, processes=2)
    assert result.returncode == 0, result.stderr
    for one, two in zip(rows(output / "one"), rows(output / "two"), strict=True):
        assert one["train_replaced"] == two["train_replaced"] == "2"
        assert float(one["train_loss"]) == pytest.approx(float(two["train_loss"]), rel=1e-4)


@pytest.mark.parametrize("processes", [1, 2])
def test_more_broken_images_than_allowed_end_the_run(tiny_config, image_folder, processes) -> None:
    break_two(image_folder)
    arguments = ["data.on_error=skip", "data.max_skipped=0.03", "data.num_workers=1"]
    result = run_script("train.py", "--config", tiny_config(), *arguments, processes=processes)
    assert result.returncode == 1
    assert re.search(
        r"error: data.max_skipped: 2 images of this epoch could not be read, and 1 are allowed", result.stderr
    )
    assert "train/top/0.png" in result.stderr and "train/bottom/5.png" in result.stderr


def test_the_evaluation_stops_at_a_broken_image(tiny_config, image_folder, capsys) -> None:
    (image_folder / "val" / "top" / "0.png").write_bytes(b"broken")
    error = refusal(capsys, train.main, "--config", tiny_config(), *SKIP)
    assert f"error: cannot decode image {image_folder / 'val' / 'top' / '0.png'}" in error


def test_check_data_lists_every_broken_image_and_starts_nothing(tiny_config, image_folder, tmp_path, capsys) -> None:
    train.main(["--config", str(tiny_config()), "--check-data"])
    assert capsys.readouterr().out.splitlines() == ["train: 36 images, 0 broken", "val: 15 images, 0 broken"]
    break_two(image_folder)
    (image_folder / "val" / "middle" / "9\n.png").write_bytes(b"x")
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(tiny_config()), "--check-data"])
    output = capsys.readouterr()
    assert stop.value.code == 1
    assert "error: 3 of 52 images are broken; replace or remove these files" in output.err
    lines = output.out.splitlines()
    assert lines[0].startswith(f"cannot decode image {image_folder / 'train' / 'bottom' / '5.png'}: ")
    assert lines[1].startswith(f"cannot decode image {image_folder / 'train' / 'top' / '0.png'}: ")
    assert lines[2] == "train: 36 images, 2 broken"
    assert lines[3].startswith(f"cannot decode image {image_folder / 'val' / 'middle' / '9'}\\n.png: ")
    assert lines[4:] == ["val: 16 images, 1 broken"]
    assert not (tmp_path / "output").exists()


def test_check_data_checks_labels(tmp_path, tiny_config, image_folder, monkeypatch, capsys) -> None:
    for split in ("train", "validation"):
        name = write_table(tmp_path, split, [0, -1, 2], image="image", label="label")
    data = f"{{dir: {tmp_path / 'cache'}, dataset: '{name}', val_split: validation, image_size: 32, num_workers: 0}}"
    with pytest.raises(SystemExit):
        train.main(["--config", str(tiny_config(data=data)), "--check-data", "model.num_classes=3"])
    output = capsys.readouterr()
    assert "image number 1 has the label -1, which is none of 3 classes\ntrain: 3 images, 1 broken" in output.out
    weights = ["--model", "resnet10t", "--option", "num_classes=3", "--image-size", "32", "--device", "cpu"]
    error = refusal(
        capsys, validate.main, *weights, "--dataset", name, "--data-dir", tmp_path / "cache", "--split", "train"
    )
    assert re.match(r"error: --option num_classes: labels go from -1 to 2, the model has 3 outputs; the split", error)


def test_rectangular_images_are_trained_on_and_evaluated(tiny_config, image_folder, tmp_path, capsys) -> None:
    run(tiny_config(), "wide", "data.image_size=[32, 64]")
    row = rows(tmp_path / "output" / "wide")[-1]
    weights = tmp_path / "output" / "wide" / "model.safetensors"
    assert read_description(weights).preprocessing.input_size == (3, 32, 64)
    metrics = scores(capsys, "--checkpoint", weights, "--data-dir", image_folder, "--results", tmp_path / "table.md")
    assert metrics["image_size"] == [32, 64] and metrics["loss"] == pytest.approx(float(row["ema_loss"]), rel=1e-5)
    assert "15 of 32x64 pixels" in (tmp_path / "table.md").read_text()
    other = scores(capsys, "--checkpoint", weights, "--data-dir", image_folder, "--image-size", 64, 32)
    assert other["image_size"] == [64, 32]
    for wrong in ("[32]", "[32, 64, 3]", "[32, 0]", "0", "1.5", "true", "big"):
        error = refusal(capsys, train.main, "--config", tiny_config(), f"data.image_size={wrong}")
        assert re.match(r"error: command line: data.image_size: .* is neither a side of 1 to 8192 pixels nor", error)


def test_a_run_keeps_how_its_images_are_decoded(tiny_config, image_folder, tmp_path, capsys) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for file in (image_folder / "val").rglob("*.png"):
        image = Image.open(file).convert("RGBA")
        image.putalpha(100)
        image.save(file, exif=exif)
    run(tiny_config(), "turned", "data.exif_orientation=true", "data.background=[0, 80, 255]")
    recorded = float(rows(tmp_path / "output" / "turned")[-1]["ema_loss"])
    weights = ["--checkpoint", tmp_path / "output" / "turned" / "model.safetensors", "--data-dir", image_folder]
    losses = [
        scores(capsys, *weights, *flags)["loss"]
        for flags in ([], ["--no-exif-orientation"], ["--background", 255, 255, 255])
    ]
    assert losses[0] == pytest.approx(recorded, rel=1e-5)
    assert losses[1] != pytest.approx(recorded, rel=1e-3) and losses[2] != pytest.approx(recorded, rel=1e-3)


def rename_classes(image_folder: Path, names: dict[str, str]) -> None:
    for split in ("train", "val"):
        for old, new in names.items():
            os.rename(image_folder / split / old, image_folder / split / new)


def test_classes_are_found_by_their_names(tiny_config, image_folder, tmp_path, capsys) -> None:
    rename_classes(image_folder, {"bottom": "class2", "middle": "class10", "top": "other"})
    run(tiny_config(), "named", "optimizer.lr=3e-3", "schedule.epochs=4")
    weights = tmp_path / "output" / "named" / "model.safetensors"
    assert read_description(weights).classes == ("class2", "class10", "other")
    recorded = rows(tmp_path / "output" / "named")[-1]
    reordered = scores(capsys, "--checkpoint", weights, "--data-dir", image_folder, "--dataset", "torch/image_folder")
    assert reordered["loss"] == pytest.approx(float(recorded["ema_loss"]), rel=1e-5)
    assert reordered["top1"] == pytest.approx(float(recorded["ema_top1"]))
    # A part of the classes: the model chooses among these alone.
    last = [str(weights), "--data-dir", str(image_folder)]
    shutil.rmtree(image_folder / "val" / "class2")
    part = scores(capsys, "--checkpoint", *last)
    assert (part["num_images"], part["num_classes"]) == (10, 2)
    # The same number of classes, but others.
    rename_classes(image_folder, {"other": "unheard"})
    error = refusal(capsys, validate.main, "--checkpoint", *last, "--device", "cpu")
    assert re.match(r"error: the weights were trained on other classes: unheard is not among their 3, class2, ", error)
    assert "--classes-by-number" in error
    (image_folder / "val" / "class1").mkdir()
    Image.new("RGB", (32, 32)).save(image_folder / "val" / "class1" / "0.png")
    by_number = scores(capsys, "--checkpoint", *last, "--classes-by-number")
    assert (by_number["num_images"], by_number["num_classes"]) == (11, 3)


def test_a_run_does_not_continue_with_other_classes(tiny_config, image_folder, capsys) -> None:
    config = tiny_config()
    run(config, "named")
    rename_classes(image_folder, {"top": "above"})
    error = refusal(
        capsys, train.main, "--config", config, "checkpoint.name=named", "checkpoint.resume=auto", "schedule.epochs=3"
    )
    assert re.search(
        r"data.dir: .*named/last.pt was trained on other classes .*; only one of them has: above, top", error
    )


def test_torchvisions_folder_trains_on_one_split_and_evaluates_on_the_other(
    tiny_config, image_folder, tmp_path
) -> None:
    run(tiny_config(), "folder")
    run(tiny_config(), "torchvision", "data.dataset=torch/image_folder")
    folder, torchvision = (rows(tmp_path / "output" / name)[-1] for name in ("folder", "torchvision"))
    assert read_description(tmp_path / "output" / "torchvision" / "model.safetensors").num_classes == 3
    assert torchvision["updates"] == folder["updates"]
