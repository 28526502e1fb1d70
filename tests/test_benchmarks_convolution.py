"""The convolution alone: what is timed, and the roofline."""

import pytest
import torch

from benchmarks.convolution import OURS, PASSES, PYTORCH, Case, make_pass, measure
from dcls.depthwise import depthwise_conv2d


def test_all_sides_are_timed() -> None:
    for which in PASSES:
        times = measure(Case(batch=1, channels=8, extent=8, size=5, device="cpu"), which, rounds=2)
        assert times.keys() == {OURS, *PYTORCH.values()}
        assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in times.values())


def test_a_pass_computes_its_gradient_alone() -> None:
    tensors = Case(batch=2, channels=4, extent=6, size=3, device="cpu").tensors(torch.contiguous_format)
    shapes = {}
    for which in PASSES[1:]:
        run = make_pass(lambda input, kernel: depthwise_conv2d(input, kernel, None, (1, 1, 1, 1)), tensors, which)
        (gradient,) = run()
        shapes[which] = tuple(gradient.shape)
    assert shapes == {"input gradient": (2, 4, 6, 6), "weight gradient": (4, 1, 3, 3)}


def test_the_roofline_is_memory_or_arithmetic_of_what_is_left_after_cropping() -> None:
    case = Case(batch=2, channels=4, extent=5, size=51, device="cpu")  # cropped to 9 x 9
    pixels = 2 * 4 * 5 * 5
    assert case.least_seconds(bandwidth=1.0, flops=1e9) == pytest.approx(4 * (2 * pixels + 4 * 81))
    assert case.least_seconds(bandwidth=1e9, flops=1.0) == pytest.approx(2 * pixels * 81)
