import json

import pytest
from safetensors.torch import save_file
from small_model import PREPROCESSING, small_model
from torch import nn

from dcls.checkpoints import read_description
from dcls.errors import UserError
from models.loading import load_model
from training.checkpoints.checkpoint import save_checkpoint


@pytest.fixture
def model() -> nn.Module:
    return small_model()


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
