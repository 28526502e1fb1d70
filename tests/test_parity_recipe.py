"""Steps of the optimizer equal those of the reference package's layers, trained by hand."""

import pytest

import models  # noqa: F401
from parity.recipe import largest_difference


@pytest.mark.parametrize("row", ["convnext_tiny_dcls_bilinear_unnormalized", "convnext_tiny_dcls_gaussian"])
def test_five_steps_equal_the_reference_package_with_plain_adamw(row: str) -> None:
    assert largest_difference(row, dims=(8, 16, 16, 16), depths=(2, 1, 2, 1)) < 1e-11
