import json
import os
import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import models  # noqa: F401
from dcls.checkpoints import ModelDescription, Preprocessing, load_exactly, read_description, read_weights
from dcls.errors import UserError
from models.loading import load_model
from training.checkpoint import read_checkpoint, save_checkpoint, save_weights

SMALL = dict(dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))
PREPROCESSING = Preprocessing((3, 64, 64), "bicubic", mean=(0.5,) * 3, std=(0.2,) * 3, crop_pct=0.9)
DESCRIPTION = ModelDescription("x", 3, {"dims": [8, 8]}, PREPROCESSING)


@pytest.fixture
def model() -> nn.Module:
    return timm.create_model("convnext_atto_dcls_gaussian", **SMALL)


def assert_equal_weights(weights, model) -> None:
    state = model.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("layout", ["ours", "safetensors", "plain", "legacy", "timm", "parallel"])
def test_every_layout_of_weights_is_read(model, layout, tmp_path) -> None:
    path = tmp_path / ("weights.safetensors" if layout == "safetensors" else "weights.pt")
    state = model.to(memory_format=torch.channels_last).state_dict()
    if layout == "ours":
        save_checkpoint(path, {"state_dict": state, "description": DESCRIPTION.to_dict()})
        assert read_description(path) == DESCRIPTION
    elif layout == "safetensors":
        save_weights(path, model, DESCRIPTION)
        assert read_description(path) == DESCRIPTION
    elif layout == "plain":
        torch.save(state, path)
        assert read_description(path) is None
    elif layout == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
        assert read_description(path) is None
    elif layout == "timm":
        torch.save({"state_dict": state, "epoch": 3, "arch": "x", "metric": 1.0}, path)
        assert read_description(path) is None
    else:
        torch.save({"module." + name: tensor for name, tensor in state.items()}, path)
    assert_equal_weights(read_weights(path), model)


def test_averaged_weights_are_taken_where_there_are_any(model, tmp_path) -> None:
    averaged = timm.create_model("convnext_atto_dcls_gaussian", **SMALL)
    save_checkpoint(tmp_path / "a.pt", {"state_dict": model.state_dict(), "state_dict_ema": averaged.state_dict()})
    assert_equal_weights(read_weights(tmp_path / "a.pt"), averaged)
    assert_equal_weights(read_weights(tmp_path / "a.pt", use_ema=False), model)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-code-ran",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_not_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, "hostile.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Hostile()))
    for read in (read_weights, read_checkpoint, read_description):
        for name, message in (("hostile.pt", r"asks to run code.*\(\w+.mkdir\)"), ("raw.pt", "is no checkpoint")):
            with pytest.raises(UserError, match=f"{name} {message}") as error:
                read(name)
            assert "\n" not in str(error.value)
    assert not Path("hostile-code-ran").exists()


def test_damaged_missing_and_foreign_files_are_named(model, tmp_path) -> None:
    save_checkpoint(tmp_path / "cut.pt", {"state_dict": model.state_dict()})
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:5000])
    save_weights(tmp_path / "cut.safetensors", model, DESCRIPTION)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:5000])
    (tmp_path / "empty.pt").touch()
    for name in ("cut.pt", "cut.safetensors", "empty.pt"):
        with pytest.raises(UserError, match=name):
            read_weights(tmp_path / name)
    (tmp_path / "letter.pt").write_text("# no weights here")
    with pytest.raises(UserError) as letter:
        read_weights(tmp_path / "letter.pt")
    assert (
        str(letter.value) == f"{tmp_path / 'letter.pt'} is no checkpoint, or it is damaged; write or download it again"
    )
    with pytest.raises(UserError, match="is a folder; name a file in it, such as .*best.pt"):
        read_weights(tmp_path)
    with pytest.raises(UserError, match="no checkpoint file"):
        read_weights(tmp_path / "nowhere.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="list.pt"):
        read_weights(tmp_path / "list.pt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        read_checkpoint(tmp_path / "foreign.pt")
    save_file({"x": torch.ones(1)}, tmp_path / "foreign.safetensors")
    assert read_description(tmp_path / "foreign.safetensors") is None


@pytest.mark.parametrize(
    "description, problem",
    [
        ("some text", "expected a mapping with name, num_classes and options, got 'some text'"),
        ({"name": "hf-hub:someone/something", "num_classes": 3, "options": {}}, "name: 'hf-hub:.*' is not the name of"),
        ({"name": "resnet10t", "num_classes": 3, "options": {"pretrained": True}}, "pretrained would fetch"),
        (
            {"name": "resnet10t", "num_classes": 3, "options": {"pretrained_cfg": {"url": "x"}}},
            "pretrained_cfg would fetch",
        ),
        ({"name": "resnet10t"}, "num_classes: is missing"),
        ({"name": "resnet10t", "num_classes": "3", "options": {}}, "num_classes: got '3'"),
        (
            {"name": "resnet10t", "num_classes": 3, "options": {}, "preprocessing": {"mean": 1}},
            "preprocessing: .*input_size",
        ),
    ],
)
def test_a_description_cannot_send_for_anything(tmp_path, model, description, problem) -> None:
    save_checkpoint(tmp_path / "a.pt", {"state_dict": model.state_dict(), "description": description})
    save_file(model.state_dict(), tmp_path / "a.safetensors", {"dcls_imagenet": json.dumps(description)})
    for file in ("a.pt", "a.safetensors"):
        with pytest.raises(UserError, match=f"{file} describes its model in a way that is not accepted: .*{problem}"):
            load_model(tmp_path / file)


def test_weights_of_another_model_are_refused_with_what_differs(model) -> None:
    other = timm.create_model("convnext_atto", **SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_exactly(model, other.state_dict(), "file.pt")
    message = str(error.value)
    assert message.startswith(
        "file.pt does not fit ConvNeXtDcls: 8 missing, such as stages.0.blocks.0.conv_dw.shared.positions"
    )
    assert "4 of another shape, such as stages.0.blocks.0.conv_dw.weight (8, 1, 7, 7) instead of (8, 1, 26)" in message
    assert_equal_weights(before, model)
