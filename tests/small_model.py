"""A small model, its description, and how its weights are compared with those of a file."""

import timm
import torch
from torch import nn

import models  # noqa: F401
from dcls.checkpoints import ModelDescription, Preprocessing

SMALL = dict(dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))

PREPROCESSING = Preprocessing((3, 64, 64), "bicubic", mean=(0.5,) * 3, std=(0.2,) * 3, crop_pct=0.9)

DESCRIPTION = ModelDescription("x", 3, {"dims": [8, 8]}, PREPROCESSING)


def assert_equal_weights(weights, model) -> None:
    state = model.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state.items())


def small_model() -> nn.Module:
    return timm.create_model("convnext_atto_dcls_gaussian", **SMALL)
