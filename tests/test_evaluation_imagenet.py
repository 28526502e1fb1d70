"""ImageNet's test sets."""

import json
from pathlib import Path

import pytest
import timm
import torch
from official_archives import tar_of, write_devkit
from PIL import Image
from timm.data import ImageNetInfo, RealLabelsImagenet
from torch import nn

import validate
from dcls.errors import UserError
from evaluation.imagenet import class_indices
from evaluation.model_specs import ModelSpec
from training.data.loaders import evaluation_loader
from training.data.preparation.archives import ARCHIVES
from training.data.preparation.prepare import Preparation, prepare
from training.data.preparation.size_limit import SizeLimit
from training.processes.distributed import DistributedContext

IMAGENET = ImageNetInfo().label_names()
ON_CPU = ["--workers", "0", "--device", "cpu"]
SMALL = ["--option", "num_classes=3", "--image-size", "32"]


def json_lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


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
    images = validate.open_data(validate.parse_arguments(arguments), alone)
    loaded = validate.prepare(ModelSpec("resnet10t", tmp_path / "net.pth"), images, use_ema=True)
    loader = evaluation_loader(images.dataset, images.data, loaded.preprocessing, alone)
    with torch.no_grad():
        for batch, _ in loader:
            real.add_result(model(batch))
    assert (line["real_top1"], line["real_top5"]) == (
        pytest.approx(real.get_accuracy(1)), pytest.approx(real.get_accuracy(5))
    )  # fmt: skip
    assert line["real_top5"] > 0 and "ReaL top-1" in text


def test_real_labels_of_shards_are_those_of_the_folder(tmp_path) -> None:
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    names = [f"ILSVRC2012_val_{index + 1:08d}.JPEG" for index in order.tolist()]
    folder = write_images(tmp_path / "val", IMAGENET, names)
    archives = tmp_path / "archives"
    archives.mkdir()
    images = {name: (folder / kind / name).read_bytes() for kind, name in zip(IMAGENET, names, strict=True)}
    (archives / ARCHIVES["val"]).write_bytes(tar_of(images))
    write_devkit(archives, order.argsort().numpy(), IMAGENET)
    prepare(Preparation(archives, tmp_path / "shards", ("val",), 400, SizeLimit(None, 95), 1, expect_imagenet=False))
    alone = DistributedContext(0, 1, torch.device("cpu"))
    options = ["--model", "resnet10t", "--real-labels", "--data-dir"]
    given = validate.parse_arguments([*options, str(folder)])
    theirs = validate.open_data(given, alone)
    given = validate.parse_arguments([*options, str(tmp_path / "shards"), "--dataset", "wds/imagenet"])
    ours = validate.open_data(given, alone)
    assert ours.classes == theirs.classes == IMAGENET
    for index in range(1000):
        (our_file, our_labels), (their_file, their_labels) = ours.dataset.reader[index], theirs.dataset.reader[index]
        assert our_labels == their_labels and our_labels[0] == index
        assert our_file.read() == their_file.read()


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
