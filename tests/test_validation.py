"""Several models in one table, and ImageNet's test sets."""

import csv
import json
from pathlib import Path

import pytest
import timm
import torch
from conftest import REPOSITORY
from PIL import Image
from processes import run_script
from timm.data import ImageNetInfo, RealLabelsImagenet
from torch import nn

import train
import validate
from dcls.errors import UserError
from training.distributed import DistributedContext
from training.evaluation import Numerics, Scores, evaluate
from validation.imagenet import class_indices
from validation.model_specs import ModelSpec, list_model_specs

IMAGENET = ImageNetInfo().label_names()
ON_CPU = ["--workers", "0", "--device", "cpu"]
SMALL = ["--option", "num_classes=3", "--image-size", "32"]


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


# Which models


def test_names_wildcards_files_and_folders_become_model_specs(tmp_path) -> None:
    names = [spec.model for spec in list_model_specs(["resnet18", "convnext_tiny_dcls_*"], [], False)]
    kinds = ("audio", "bilinear_unnormalized", "gaussian", "triangle")
    assert names == ["resnet18", *[f"convnext_tiny_dcls_{kind}" for kind in kinds]]
    tagged = list_model_specs(["convnext_tiny_dcls_*"], [], True)
    assert [c.model for c in tagged] == [f"convnext_tiny_dcls_{kind}.released" for kind in kinds[:3]]
    for name in ("small/b-seed0", "small/a-seed1", "small/unfinished"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("small/b-seed0/model.safetensors", "small/a-seed1/model.safetensors", "small/unfinished/last.pt"):
        (tmp_path / name).touch()
    (tmp_path / "small/b-seed0/best.pt").touch()
    runs = [tmp_path / "small" / name / "model.safetensors" for name in ("a-seed1", "b-seed0")]
    assert list_model_specs([], [str(tmp_path)], False) == [ModelSpec(None, run) for run in runs]
    (tmp_path / "files").mkdir()
    for name in ("b.pth.tar", "a.pt", "README.md"):
        (tmp_path / "files" / name).touch()
    files = list_model_specs(["resnet18"], [str(tmp_path / "files"), "x.pth"], False)
    found = [tmp_path / "files" / "a.pt", tmp_path / "files" / "b.pth.tar", Path("x.pth")]
    assert files == [ModelSpec("resnet18", file) for file in found]
    with pytest.raises(UserError, match="unfinished holds no finished run; name .*last.pt to evaluate one that is not"):
        list_model_specs([], [str(tmp_path / "small/unfinished")], False)


def test_what_stands_for_no_model_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="no model fits 'resnetty"):
        list_model_specs(["resnetty*"], [], False)
    with pytest.raises(UserError, match="no model with pretrained weights fits 'convnext_atto_dcls"):
        list_model_specs(["convnext_atto_dcls*"], [], True)
    with pytest.raises(UserError, match="holds no finished run .model.safetensors. and no file of weights"):
        list_model_specs([], [str(tmp_path)], False)
    for models in (["resnet18", "resnet34"], ["resnet*"]):
        with pytest.raises(UserError, match="give one name, to which all of the files belong"):
            list_model_specs(models, ["a.pth"], False)


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


# Which images


def model_of(num_classes: int) -> nn.Module:
    model = nn.Linear(1, num_classes)
    model.num_classes = num_classes
    return model


def test_classes_find_their_outputs() -> None:
    imagenet = model_of(1000)
    assert class_indices(IMAGENET, imagenet) is None
    assert class_indices([str(index) for index in range(1000)], imagenet) is None
    assert class_indices(["n01440764", "n01494475", "n15075141"], imagenet) == [0, 4, 999]
    assert class_indices(["7", "12"], imagenet) == [7, 12]
    assert class_indices(["cat", "dog"], model_of(2)) is None
    assert class_indices(None, model_of(2)) is None
    large = class_indices(IMAGENET, model_of(21842))
    names = ImageNetInfo("imagenet-22k-ms").label_names()
    assert [names[index] for index in large] == IMAGENET
    for classes, model in ((["cat", "dog"], imagenet), (["7", "1000"], imagenet), (["0", "1"], model_of(3))):
        with pytest.raises(UserError, match=f"the data set has 2 classes and the model {model.num_classes} outputs"):
            class_indices(classes, model)


def write_images(folder: Path, classes: list[str], names: list[str]) -> Path:
    for label, (kind, name) in enumerate(zip(classes, names, strict=True)):
        (folder / kind).mkdir(parents=True)
        Image.new("RGB", (8, 8), (label % 256, label // 256, 0)).save(folder / kind / name, "JPEG")
    return folder


@pytest.mark.parametrize("layout", ["ImageNet-A or -R", "ImageNet-V2"])
def test_models_choose_among_the_classes_of_the_test_set(layout, tmp_path, capsys) -> None:
    indices = range(3, 1000, 5) if layout == "ImageNet-A or -R" else range(1000)
    classes = [IMAGENET[index] if layout == "ImageNet-A or -R" else str(index) for index in indices]
    folder = write_images(tmp_path / "set", classes, ["0.jpg"] * len(classes))
    (folder / "README.txt").touch()
    model = timm.create_model("resnet10t", num_classes=1000)
    nn.init.zeros_(model.fc.weight)
    # The largest output belongs to no class of ImageNet-A; among the 200 classes it is the one of output 3, then 8.
    model.fc.bias.data = torch.arange(1000, 0, -1.0)
    torch.save(model.state_dict(), tmp_path / "net.pth")
    arguments = ["--model", "resnet10t", "--checkpoint", str(tmp_path / "net.pth"), "--image-size", "32"]
    validate.main([*arguments, "--data-dir", str(folder), *ON_CPU])
    (line,) = json_lines(capsys.readouterr().out)
    count = len(indices)
    assert (line["num_classes"], line["num_images"]) == (count, count)
    assert (line["top1"], line["top5"]) == (pytest.approx(100 / count), pytest.approx(500 / count))
    chosen = torch.log_softmax(model.fc.bias.detach()[list(indices)], 0)
    assert line["loss"] == pytest.approx(-chosen.mean().item(), rel=1e-4)


class Constant(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def scores_of(logits: list[float], targets: list, **options) -> Scores:
    device = torch.device("cpu")
    data = torch.utils.data.TensorDataset(torch.zeros(len(targets), 3, 2, 2), torch.tensor(targets))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    return evaluate(Constant(logits), loader, DistributedContext(0, 1, device), Numerics(device), **options)


def test_further_labels_count_as_right_and_images_without_any_do_not_count() -> None:
    logits = [6.0, 5, 4, 3, 2, 1, 0]  # the ranking is 0, 1, 2, ...
    scores = scores_of(logits, [[0, 1, 0], [6, 0, -1], [0, -1, -1], [2, 6, 4], [1, 5, 6]])
    assert (scores.top1, scores.top5) == (pytest.approx(40), pytest.approx(80))
    assert (scores.real_top1, scores.real_top5) == (pytest.approx(50), pytest.approx(75))
    plain = scores_of(logits, [0, 6, 0, 2, 1])
    assert (plain.top1, plain.top5, plain.loss) == (scores.top1, scores.top5, pytest.approx(scores.loss))
    assert plain.real_top1 is None and plain.real_top5 is None
    assert [scores_of(logits, [label], outputs=[6, 5]).top1 for label in (0, 1)] == [0, 100]


def test_real_labels_agree_with_timms_own_evaluation(tmp_path, capsys) -> None:
    """Every class folder holds one image of the validation set, of any class: labels come by the files' names."""
    numbers = torch.randperm(50_000, generator=torch.Generator().manual_seed(0))[:1000] + 1
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in numbers.tolist()]
    folder = write_images(tmp_path / "val", IMAGENET, names)
    model = timm.create_model("resnet10t", num_classes=1000).eval()
    torch.save(model.state_dict(), tmp_path / "net.pth")
    arguments = ["--model", "resnet10t", "--checkpoint", str(tmp_path / "net.pth"), "--image-size", "32"]
    arguments += ["--data-dir", str(folder), *ON_CPU]
    validate.main([*arguments, "--real-labels"])
    text = capsys.readouterr().out
    (line,) = json_lines(text)
    real = RealLabelsImagenet([""] * 50_000)
    real.filenames = names
    alone = DistributedContext(0, 1, torch.device("cpu"))
    images = validate.open_images(validate.parse_arguments(arguments), alone)
    task = validate.prepare(ModelSpec("resnet10t", tmp_path / "net.pth"), images, use_ema=True)
    loader = validate.evaluation_loader(images.dataset, images.data, task.image, alone)
    with torch.no_grad():
        for batch, _ in loader:
            real.add_result(model(batch))
    assert (line["real_top1"], line["real_top5"]) == (
        pytest.approx(real.get_accuracy(1)), pytest.approx(real.get_accuracy(5))
    )  # fmt: skip
    assert line["real_top5"] > 0 and "ReaL top-1" in text


def test_real_labels_need_the_validation_set(image_folder, tmp_path, capsys) -> None:
    folder = write_images(tmp_path / "other", IMAGENET, ["tench.JPEG"] * 1000)
    for images, message in (
        (image_folder, "needs the 1000 class folders"),
        (folder, "n01440764/tench.JPEG is no validation image"),
    ):
        options = ["--option", "num_classes=3"] if images is image_folder else []
        with pytest.raises(SystemExit):
            validate.main(
                ["--model", "resnet10t", "--data-dir", str(images), "--image-size", "32", "--real-labels", *options]
            )
        error = capsys.readouterr().err
        assert error.startswith("error: --real-labels: ") and message in error
