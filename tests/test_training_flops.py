import pytest
import timm
from torch import nn

import models  # noqa: F401
from training.flops import count_multiply_adds, count_parameters


def test_multiply_adds_of_known_models() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    assert count_multiply_adds(linear, (3, 2, 2)) == 60
    assert count_parameters(linear) == 65
    dense = timm.create_model("convnext_tiny")
    assert count_multiply_adds(dense, (3, 224, 224)) == pytest.approx(4.47e9, rel=0.01)
    assert dense.stem[0].weight.device.type == "cpu"
    gaussian = timm.create_model("convnext_tiny_dcls_gaussian")
    pixels = [3 * 96 * 56**2, 3 * 192 * 28**2, 9 * 384 * 14**2, 3 * 768 * 7**2]
    kernels = [23**2, 23**2, 23**2, 13**2]  # on a map of 7x7 the outer rows and columns of 23x23 meet nothing
    extra = sum(p * (k - 7**2) for p, k in zip(pixels, kernels, strict=True))
    assert count_multiply_adds(gaussian, (3, 224, 224)) - count_multiply_adds(dense, (3, 224, 224)) == extra
