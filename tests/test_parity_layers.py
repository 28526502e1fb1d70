"""Equality with the reference package wherever it is right."""

import pytest
import torch

from dcls.reference_package import VERSIONS
from parity.reference import make_pair, outputs_and_gradients

pytestmark = pytest.mark.usefixtures("poisoned_memory")

CASES = [(1, 11), (2, 7), (2, 17), (3, 5)]


@pytest.mark.parametrize("interpolation", VERSIONS)
@pytest.mark.parametrize("ndim, size", CASES)
def test_output_and_every_gradient_equal_the_reference(ndim: int, size: int, interpolation: str) -> None:
    ours, theirs = make_pair(ndim, interpolation, 4, 6, 5, size, padding=size // 2, groups=2)
    x = torch.randn(2, 4, *(9,) * ndim, dtype=torch.float64)
    upstream = torch.randn(2, 6, *(9,) * ndim, dtype=torch.float64)
    got, expected = outputs_and_gradients(ours, x, upstream), outputs_and_gradients(theirs, x, upstream)
    assert got.keys() == expected.keys()
    for name in expected:
        assert expected[name].abs().max() > 1e-3, f"{name} is not informative"
        torch.testing.assert_close(got[name], expected[name], rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("interpolation", VERSIONS)
def test_float32_kernel_equals_the_reference_to_1e_6(interpolation: str) -> None:
    ours, theirs = make_pair(2, interpolation, 32, 32, 26, 23, padding=11, groups=32, dtype=torch.float32)
    expected = theirs.DCK(theirs.weight, theirs.P, theirs.SIG if ours.sigma is not None else None)
    torch.testing.assert_close(ours.kernel(), expected, rtol=0, atol=1e-6)


def test_unnormalized_gradient_at_integer_positions_equals_the_reference() -> None:
    ours, theirs = make_pair(2, "bilinear_unnormalized", 2, 2, 6, 7, padding=3, groups=2)
    with torch.no_grad():
        ours.positions.round_().clamp_(-2, 2)
        theirs.P.round_().clamp_(-2, 2)
    x = torch.randn(1, 2, 9, 9, dtype=torch.float64)
    got, expected = outputs_and_gradients(ours, x), outputs_and_gradients(theirs, x)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("interpolation, outside", [("gaussian", 2.2), ("triangle", 0.4), ("bilinear", 0.4)])
def test_elements_outside_the_kernel_but_within_reach_equal_the_reference(interpolation: str, outside: float) -> None:
    ours, theirs = make_pair(2, interpolation, 2, 2, 6, 7, padding=3, groups=2)
    with torch.no_grad():
        for positions in (ours.positions, theirs.P):
            positions.fill_(3 + outside)
        if interpolation == "gaussian":
            ours.sigma.fill_(0.3)
            theirs.SIG.fill_(0.3)
    x = torch.randn(1, 2, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
