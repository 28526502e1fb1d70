"""Several models in one table."""

import csv
import json

import pytest
from conftest import REPOSITORY
from processes import run_script
from timm.data import ImageNetInfo

import train
import validate

IMAGENET = ImageNetInfo().label_names()
ON_CPU = ["--workers", "0", "--device", "cpu"]
SMALL = ["--option", "num_classes=3", "--image-size", "32"]


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_folder_of_runs_and_a_broken_file_become_one_table(tiny_config, image_folder, tmp_path, capsys) -> None:
    for name in ("first", "second"):
        train.main(["--config", str(tiny_config()), f"checkpoint.name={name}", "schedule.epochs=1"])
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"nothing")
    results = [tmp_path / "tables" / f"all{suffix}" for suffix in (".md", ".csv", ".json")]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        validate.main(
            ["--checkpoint", str(broken), str(tmp_path / "output"), "--data-dir", str(image_folder), *ON_CPU,
             "--results", *map(str, results)]
        )  # fmt: skip
    printed = capsys.readouterr()
    assert f"error: 1 of 3 were not evaluated: {broken} is no checkpoint" in printed.err
    lines = json_lines(printed.out)
    weights = [str(tmp_path / "output" / name / "model.safetensors") for name in ("first", "second")]
    assert [line["weights"] for line in lines] == weights
    table = [line.split("|")[1:3] for line in results[0].read_text().splitlines()]
    assert [[cell.strip() for cell in row] for row in table] == [
        ["model", "weights"], table[1], *[["convnext_atto_dcls_gaussian", path] for path in weights]
    ]  # fmt: skip
    assert results[0].read_text().strip() in printed.out
    assert json.loads(results[2].read_text()) == lines
    with results[1].open(newline="") as file:
        assert [{key: str(value) for key, value in line.items()} for line in lines] == list(csv.DictReader(file))


def test_several_processes_write_one_table(image_folder, tmp_path) -> None:
    results = tmp_path / "table.json"
    arguments = ["--model", "resnet10t", "no_such_model", "convnext_atto_dcls_g*", "--data-dir", image_folder]
    result = run_script("validate.py", *arguments, *SMALL, *ON_CPU, "--results", results, processes=2)
    assert result.returncode != 0
    assert "error: 1 of 3 were not evaluated: --model: no architecture" in result.stderr
    assert json.loads(results.read_text()) == json_lines(result.stdout)
    lines = [(line["model"], line["num_images"]) for line in json_lines(result.stdout)]
    assert lines == [("resnet10t", 15), ("convnext_atto_dcls_gaussian", 15)]


FAILING_ELSEWHERE = """
import os, validate
from dcls.errors import UserError

prepare = validate.prepare

def fail_once(spec, *arguments, **options):
    if spec.model == "resnet14t" and os.environ["RANK"] == "1":
        raise UserError("the file is not on this node")
    return prepare(spec, *arguments, **options)

validate.prepare = fail_once
validate.main()
"""


def test_what_one_process_cannot_load_none_evaluates(image_folder, tmp_path) -> None:
    (tmp_path / "script.py").write_text(FAILING_ELSEWHERE)
    arguments = ["--model", "resnet14t", "resnet10t", "--data-dir", image_folder, *SMALL, *ON_CPU]
    result = run_script(tmp_path / "script.py", *arguments, processes=2, PYTHONPATH=str(REPOSITORY))
    assert [(line["model"], line["num_images"]) for line in json_lines(result.stdout)] == [("resnet10t", 15)]
    assert "error: 1 of 2 were not evaluated: resnet14t: another process cannot load it" in result.stderr


def test_a_table_of_another_kind_is_refused_at_once(image_folder, capsys) -> None:
    with pytest.raises(SystemExit):
        validate.main(["--model", "resnet18", "--data-dir", str(image_folder), "--results", "table.xlsx"])
    assert "--results: table.xlsx should end in .md, .csv, .json" in capsys.readouterr().err
