"""The reference's layers in a plain model: everything is ours but the implementation, and sets stay shared."""

import pytest
import timm
import torch

import dcls
import models  # noqa: F401
from dcls.reference_package import VERSIONS
from parity.reference import put_reference_layers

SIZES = dict(depths=(2, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=3)


def test_every_interpolation_has_a_version_of_the_reference() -> None:
    assert set(VERSIONS) <= set(dcls.INTERPOLATIONS)


@pytest.mark.parametrize("variant", ["gaussian", "bilinear_unnormalized"])
@torch.no_grad()
def test_the_reference_in_timms_model_computes_what_ours_does(variant) -> None:
    ours = timm.create_model(f"convnext_tiny_dcls_{variant}", **SIZES).eval()
    plain = timm.create_model("convnext_tiny", **SIZES).eval()
    layers = put_reference_layers(plain, ours)
    assert list(layers) == [name for name, layer in ours.named_modules() if isinstance(layer, dcls.DclsNd)]
    assert not any(isinstance(layer, dcls.DclsNd) for layer in plain.modules())
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain(x), ours(x))


def test_positions_are_shared_where_ours_are() -> None:
    ours, plain = timm.create_model("convnext_tiny_dcls_gaussian", **SIZES), timm.create_model("convnext_tiny", **SIZES)
    put_reference_layers(plain, ours)
    first, second = (block.conv_dw for block in plain.stages[0].blocks)
    assert first.P is second.P and first.SIG is second.SIG
    assert plain.stages[1].blocks[0].conv_dw.P is not first.P
    count = sum(parameter.numel() for parameter in plain.parameters())
    assert count == sum(parameter.numel() for parameter in ours.parameters())


def test_a_model_that_differs_in_more_than_its_kernels_is_refused() -> None:
    ours = timm.create_model("convnext_tiny_dcls_gaussian", **SIZES)
    with pytest.raises(AssertionError, match="in_channels"):
        put_reference_layers(timm.create_model("convnext_tiny", **{**SIZES, "dims": (16, 8, 8, 8)}), ours)
