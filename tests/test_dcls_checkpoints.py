import json
import os
import pickle
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import models  # noqa: F401
from dcls.checkpoints import ModelDescription, Preprocessing, load_exactly, open_safely, read_description, read_weights
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


def test_no_flipped_bit_of_a_safetensors_file_of_this_project_is_read(tmp_path) -> None:
    model = nn.Linear(3, 2)
    save_weights(tmp_path / "good.safetensors", model, DESCRIPTION)
    good = (tmp_path / "good.safetensors").read_bytes()
    before, path, accepted = read_weights(tmp_path / "good.safetensors"), tmp_path / "bad.safetensors", []
    for byte in range(len(good)):
        path.write_bytes(good[:byte] + bytes([good[byte] ^ 1 << byte % 8]) + good[byte + 1 :])
        try:
            after, description = read_weights(path), read_description(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        # What does not matter may change: spaces in JSON, or offsets that say the same.
        assert description == DESCRIPTION and all(torch.equal(before[name], after[name]) for name in before), byte
        accepted.append(byte)
    assert len(accepted) < 10


def test_a_file_from_before_there_were_checksums_is_read(tmp_path) -> None:
    metadata = {"dcls_imagenet": json.dumps(DESCRIPTION.to_dict())}
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "old.safetensors", metadata)
    assert read_weights(tmp_path / "old.safetensors").keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    "weights, problem",
    [
        ({3: torch.ones(2)}, "3 is not the name of a tensor"),
        ({"weight": torch.ones(2, 3).to_sparse(), "bias": torch.ones(2)}, "weight is sparse"),
        ({"weight": torch.ones(2, 3, device="meta"), "bias": torch.ones(2)}, "weight has no values"),
        ({"weight": torch.ones(2, 3, dtype=torch.complex64), "bias": torch.ones(2)}, "weight is complex"),
        ({"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.ones(2)}, "weight as int8 where the model has float32"),
        ({"weight": torch.ones(2, 3, dtype=torch.bool), "bias": torch.ones(2)}, "weight as bool"),
        ({"weight": torch.full((2, 3), torch.nan), "bias": torch.ones(2)}, "infinite or not numbers, such as weight"),
        ({"weight": torch.full((2, 3), torch.inf), "bias": torch.ones(2)}, "infinite or not numbers, such as weight"),
        ({"weight": torch.ones(1).expand(2, 3), "bias": torch.ones(2)}, "fewer numbers than it says"),
        ({"weight": "ones", "bias": torch.ones(2)}, "holds no weights"),
    ],
)  # fmt: skip
def test_what_are_no_weights_is_refused_with_the_files_name(tmp_path, weights, problem) -> None:
    torch.save({"state_dict": weights}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=rf"a\.pth.*{problem}") as error:
        load_exactly(nn.Linear(3, 2), read_weights(tmp_path / "a.pth"), tmp_path / "a.pth")
    assert "\n" not in str(error.value)


def test_half_precision_weights_are_read(tmp_path) -> None:
    model, expected = nn.Linear(3, 2), nn.Linear(3, 2)
    for kind in (torch.float16, torch.bfloat16, torch.float8_e5m2):
        torch.save({name: tensor.to(kind) for name, tensor in expected.state_dict().items()}, tmp_path / "a.pth")
        load_exactly(model, read_weights(tmp_path / "a.pth"), "a.pth")
        assert torch.equal(model.weight, expected.weight.to(kind).float())


def test_single_numbers_of_numpy_are_read_as_pythons(tmp_path) -> None:
    numbers = {"best": np.float64(76.25), "epoch": np.int32(-3), "done": np.bool_(True), "half": np.float16(0.5)}
    numbers["other_order"] = np.dtype(">f4").type(1.5)
    torch.save({"state_dict": nn.Linear(3, 2).state_dict(), **numbers}, tmp_path / "a.pth")
    content = open_safely(tmp_path / "a.pth")
    assert {name: content[name] for name in numbers} == numbers and type(content["best"]) is float
    torch.save({"state_dict": {}, "x": np.zeros(1, dtype=object)}, tmp_path / "array.pth")
    with pytest.raises(UserError, match="array.pth"):
        open_safely(tmp_path / "array.pth")


PLAIN = {"name": "resnet10t", "num_classes": 3, "options": {}}


def nested(depth: int) -> str:
    return '{"name": "resnet10t", "num_classes": 3, "options": {"x": ' + "[" * depth + "]" * depth + "}}"


@pytest.mark.parametrize(
    "metadata, problem",
    [
        ("{", "Expecting"), (nested(100_000), "recursion"), (nested(50), "options: expected names with numbers"),
        (json.dumps({**PLAIN, "num_classes": True}), "num_classes: got True"),
        (json.dumps({**PLAIN, "num_classes": 10**9}), "num_classes: got 1000000000"),
        (json.dumps({**PLAIN, "options": {"x": float("inf")}}), "options"),
        *(
            (json.dumps({**PLAIN, "preprocessing": {**PREPROCESSING.to_dict(), key: value}}), "preprocessing")
            for key, value in (
                ("input_size", [3, 10**6, 10**6]), ("input_size", [3, -1, 64]), ("input_size", [3, 64.5, 64]),
                ("input_size", [3, 64]), ("mean", [float("nan")] * 3), ("std", [0, 0, 0]),
                ("std", [-1, 1, 1]), ("crop_pct", 1e-4), ("crop_pct", float("nan")), ("interpolation", "magic"),
                ("interpolation", 3), ("crop_mode", "none"), ("surprise", 1),
            )
        ),
    ],
)  # fmt: skip
def test_wrong_metadata_is_one_line(tmp_path, metadata, problem) -> None:
    path = tmp_path / "a.safetensors"
    save_file(nn.Linear(3, 2).state_dict(), path, {"dcls_imagenet": metadata})
    with pytest.raises(
        UserError, match=f"a.safetensors describes its model in a way that is not accepted: .*({problem})"
    ) as error:
        read_description(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_archives_and_headers_that_grow_are_refused(tmp_path) -> None:
    with ZipFile(tmp_path / "bomb.pt", "w", ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("bomb/data/0", bytes(10**8))
    with pytest.raises(UserError, match="bomb.pt is no checkpoint: it is a compressed archive"):
        read_weights(tmp_path / "bomb.pt")
    (tmp_path / "huge.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}" * 100)
    for read in (read_weights, read_description):
        with pytest.raises(UserError, match="huge.safetensors is no checkpoint.*header"):
            read(tmp_path / "huge.safetensors")
    (tmp_path / "deep.pt").write_bytes(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")
    with pytest.raises(UserError, match="deep.pt"):
        read_weights(tmp_path / "deep.pt")
