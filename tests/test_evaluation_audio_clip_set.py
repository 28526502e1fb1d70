"""Whole evaluations of audio models in this process, and what is said of mistakes."""

import csv
import json
import re

import numpy as np
import pytest
import timm
import torch
from audio_clips import write_clips, write_released, write_sound
from test_models_released_upstream import SAMPLES, needs_samples

import models  # noqa: F401
import validate
from models.released import recognize
from models.released.upstream import released_names
from parity.released_checkpoints import draw, read_shapes
from training import extras

ON_CPU = ["--workers", "0", "--device", "cpu"]


def evaluated(capsys, *arguments) -> tuple[list[dict], str]:
    validate.main([*map(str, arguments), *ON_CPU])
    printed = capsys.readouterr().out
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")], printed


def refusal(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as stop:
        validate.main([*map(str, arguments), *ON_CPU])
    assert stop.value.code
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_results_are_printed_and_written_as_those_of_images(tmp_path, capsys) -> None:
    write_clips(tmp_path / "clips")
    write_released(tmp_path / "released.pth")
    (line,), printed = evaluated(capsys, "--checkpoint", tmp_path / "released.pth", "--data-dir", tmp_path / "clips")
    assert line["data"] == str(tmp_path / "clips") and line["multiply_adds"] > 1e6
    for row in (
        f"mAP            {line['mean_average_precision']:.2f} %",
        f"AUC            {line['auc']:.4f}",
        "clips          7 of 128x1001, 4 padded, 1 cropped",
        "classes        4, 1 of them in no clip",
    ):
        assert row in printed
    results = [tmp_path / f"all{suffix}" for suffix in (".md", ".csv", ".json")]
    small = [part for option in ("depths=[1, 1, 1, 1]", "num_classes=4") for part in ("--option", option)]
    names = ["convnext_tiny_dcls_audio", "convformer_s18_dcls_audio"]
    table = tmp_path / "clips" / "clips.csv"
    lines, printed = evaluated(
        capsys, "--model", *names, *small, "--data-dir", table, "--batch-size", 4, "--results", *results
    )
    assert [line["model"] for line in lines] == names and all(line["data"] == str(table) for line in lines)
    assert results[0].read_text().strip() in printed and "| mAP" in printed
    assert json.loads(results[2].read_text()) == lines
    with results[1].open(newline="") as file:
        assert [float(row["mean_average_precision"]) for row in csv.DictReader(file)] == [
            line["mean_average_precision"] for line in lines
        ]


def test_fastvit_takes_clips_in_class_folders(tmp_path, capsys) -> None:
    for name in ("dog", "rain"):
        write_sound(tmp_path / name / "a.wav")
    arguments = ["--model", "fastvit_sa24_dcls_audio", "--option", "num_classes=2", "--data-dir", tmp_path]
    (line,), _ = evaluated(capsys, *arguments, "--split", ".")
    assert (line["num_clips"], line["num_classes"], line["input_size"]) == (2, 2, [128, 1001])
    assert np.isfinite(line["loss"]) and 0 <= line["mean_average_precision"] <= 100


@needs_samples
@pytest.mark.parametrize("layout", ["audio_convformer_s18_gauss", "audio_convnext_tiny_gauss"])
def test_a_released_layout_of_full_size_is_evaluated_by_its_file_alone(tmp_path, capsys, layout) -> None:
    shapes = read_shapes(SAMPLES / "keys" / f"{layout}.txt")
    found = recognize({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    model = timm.create_model(found.model)
    torch.save({"model": draw(shapes, released_names(list(shapes), found, model), model)}, tmp_path / "released.pth")
    rows = [f'{index},/m/{index:03d},"Sound {index}"' for index in range(527)]
    (tmp_path / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *rows]))
    rows = ['a, 0.000, 10.000, "/m/003,/m/526"', 'b, 30.000, 40.000, "/m/003"', 'gone, 0.000, 10.000, "/m/007"']
    (tmp_path / "eval_segments.csv").write_text(
        "\n".join(["# YTID, start_seconds, end_seconds, positive_labels", *rows])
    )
    write_sound(tmp_path / "eval_segments" / "Ya.wav")
    write_sound(tmp_path / "eval_segments" / "b_30.flac", rate=44_100)
    arguments = ["--checkpoint", tmp_path / "released.pth", "--data-dir", tmp_path, "--split", "eval_segments.csv"]
    (line,), _ = evaluated(capsys, *arguments)
    assert line["model"] == found.model and line["num_clips"] == 2
    assert (line["num_classes"], line["num_scored_classes"]) == (527, 2)
    assert 75 <= line["mean_average_precision"] <= 100 and np.isfinite(line["loss"])


AUDIO = ["--model", "convnext_tiny_dcls_audio", "--option", "depths=[1, 1, 1, 1]"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (AUDIO, r"--option num_classes: .*class_labels_indices.csv names 4 classes, and the model has 527 outputs"),
        (["--model", "resnet10t"], r"--model: resnet10t takes inputs of 3x224x224, and .*/clips holds sounds: 1 channel; take an audio model"),
        ([*AUDIO, "--image-size", "64"], "--image-size: is for images, and .*/clips holds sounds; remove it"),
        ([*AUDIO, "--mean", "0", "0", "0"], "--mean: is for images"),
        ([*AUDIO, "--real-labels"], "--real-labels: is for images"),
        ([*AUDIO, "--classes-by-number"], "--classes-by-number: is for images"),
        ([*AUDIO, "--split", "eval.csv"], "--data-dir: .*/clips/eval.csv: No such file or directory"),
        ([*AUDIO, "--batch-size", "0"], "--batch-size: Input should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_message(tmp_path, capsys, arguments, message) -> None:
    write_clips(tmp_path / "clips")
    error = refusal(capsys, *arguments, "--data-dir", tmp_path / "clips")
    assert re.search(message, error) and error.startswith("error: ")


def test_a_broken_clip_ends_the_evaluation(tmp_path, capsys) -> None:
    write_clips(tmp_path / "clips")
    write_released(tmp_path / "released.pth")
    (tmp_path / "clips" / "e.flac").write_bytes(b"fLaC" + bytes(1000))
    error = refusal(capsys, "--checkpoint", tmp_path / "released.pth", "--data-dir", tmp_path / "clips")
    assert re.search(r"error: .*/clips/e.flac is no sound that libsndfile reads: .*; replace or remove the file", error)


def test_clips_without_any_label_are_refused(tmp_path, capsys) -> None:
    write_sound(tmp_path / "a.wav")
    (tmp_path / "clips.csv").write_text('file,labels\na.wav,""\n')
    assert "--data-dir: no clip of" in refusal(capsys, *AUDIO, "--data-dir", tmp_path)


@pytest.mark.parametrize("package", ["torchaudio", "soundfile", "sklearn"])
def test_a_missing_package_is_named_with_its_extra(tmp_path, capsys, monkeypatch, package) -> None:
    find_spec = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else find_spec(name))
    write_clips(tmp_path / "clips")
    error = refusal(capsys, *AUDIO, "--data-dir", tmp_path / "clips")
    assert error == f"error: --data-dir: {package} is not installed; install it with pip install --editable '.[audio]'"


def test_an_audio_model_on_images_says_so(image_folder, capsys) -> None:
    error = refusal(capsys, *AUDIO, "--option", "num_classes=3", "--data-dir", image_folder)
    assert "--model: ConvNeXtAudio takes inputs of 1x128x1001, and images have 3 channels" in error
