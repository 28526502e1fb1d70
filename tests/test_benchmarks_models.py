"""Whole models: every side is the model that its column says, and takes its steps."""

import pytest
import torch
from torch import nn

import dcls
from benchmarks import models as benchmark
from benchmarks.models import COLUMNS, DENSE, FOLDED_BOTH, OURS, REFERENCE, make_model
from parity.reference import reference


def large_kernels(model: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


def test_every_side_is_the_model_of_its_column() -> None:
    assert large_kernels(make_model("convnext_tiny", OURS), dcls.Dcls2d) == 18
    theirs = make_model("convnext_tiny", REFERENCE, size=7)
    assert large_kernels(theirs, reference.Dcls2d) == 18 and not large_kernels(theirs, dcls.Dcls2d)
    assert make_model("convnext_tiny", DENSE, size=17).stages[0].blocks[0].conv_dw.kernel_size == (17, 17)
    for side in set(COLUMNS) - {OURS, REFERENCE} - set(FOLDED_BOTH):
        model = make_model("convnext_tiny", side)
        assert large_kernels(model, dcls.Dcls2d) == (18 if "project" in side else 0)


@pytest.fixture
def tiny_models(monkeypatch):
    def make(name: str, side: str, size: int = 23) -> nn.Module:
        layer = dcls.Dcls2d(3, 3, 4, 5, padding=2, groups=3)
        return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))

    monkeypatch.setattr(benchmark, "make_model", make)
    monkeypatch.setattr(benchmark, "IMAGE_SIZE", 16)


def test_a_step_trains_and_an_evaluation_gives_logits(tiny_models) -> None:
    step = benchmark.training_step("convnext_tiny", OURS, 2, "cpu")
    step()
    for side in (OURS, *FOLDED_BOTH):
        logits = benchmark.evaluation("convnext_tiny", side, 2, "cpu")()
        assert logits.shape == (2, 1000) and logits.isfinite().all() and not logits.requires_grad


def test_memory_formats_follow_the_column() -> None:
    assert [benchmark.memory_format(side) == torch.contiguous_format for side in FOLDED_BOTH] == [True, False]
