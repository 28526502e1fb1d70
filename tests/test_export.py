"""Models in other tools: a Hub folder, ONNX, a torch.export program."""

import json
from pathlib import Path

import pytest
import timm
import torch
from processes import run_script

from dcls.checkpoints.description import Preprocessing
from models.building import create_model
from models.loading import load_model
from training.checkpoints.checkpoint import save_weights
from training.config import ModelConfig
from training.model import describe_model

OPTIONS = {
    "convnext_tiny_dcls_gaussian": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]},
    "fastvit_sa24_dcls_bilinear": {"layers": [1, 1, 1, 1], "embed_dims": [16, 16, 32, 64]},
}


@pytest.fixture(params=OPTIONS)
def checkpoint(request, tmp_path) -> Path:
    name, options = request.param, OPTIONS[request.param]
    preprocessing = Preprocessing((3, 64, 64), "bilinear", mean=(0.5,) * 3, std=(0.2,) * 3, crop_pct=0.9)
    model = create_model(name, num_classes=5, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path / "small.safetensors"
    config = ModelConfig(name=name, options=options)
    save_weights(path, model, describe_model(config, 5, preprocessing))
    return path


def test_every_format_gives_the_same_logits(checkpoint, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    hub, onnx, program = tmp_path / "hub", tmp_path / "net.onnx", tmp_path / "net.pt2"
    result = run_script(
        "scripts/export.py", checkpoint, "--hub", hub, "--onnx", onnx, "--program", program, "--license", "mit"
    )
    assert result.returncode == 0, result.stderr
    model, _ = load_model(checkpoint)
    images = torch.randn(3, 3, 64, 64)  # another batch size than that of the export
    with torch.no_grad():
        expected = model(images)
        tolerance = dict(rtol=1e-3, atol=1e-4 * expected.abs().max().item())
        loaded = timm.create_model(f"local-dir:{hub}", pretrained=True).eval()
        torch.testing.assert_close(loaded(images), expected, **tolerance)
        torch.testing.assert_close(torch.export.load(program).module()(images), expected, **tolerance)
    session = onnxruntime.InferenceSession(onnx)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, **tolerance)
    config = json.loads((hub / "config.json").read_text())
    assert config["num_classes"] == 5 and config["pretrained_cfg"]["input_size"] == [3, 64, 64]
    assert tuple(loaded.pretrained_cfg["mean"]) == (0.5, 0.5, 0.5)
    card = (hub / "README.md").read_text()
    assert "Parameters: " in card and "license: mit\n" in card


def test_a_file_that_does_not_know_its_model_is_named(tmp_path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "plain.pth")
    result = run_script("scripts/export.py", tmp_path / "plain.pth", "--hub", tmp_path / "hub")
    assert result.returncode == 1 and "does not say which model it belongs to" in result.stderr
