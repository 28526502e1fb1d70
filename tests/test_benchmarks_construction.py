"""Building a kernel: both sides build the same one, and its memory is counted."""

import torch

from benchmarks.construction import builders, forward_and_backward, peak_bytes


def test_both_sides_build_the_same_kernel() -> None:
    ours, theirs = builders(4)
    torch.testing.assert_close(ours(), theirs(), rtol=0, atol=1e-6)
    forward_and_backward(ours)


def test_peak_memory_is_what_is_allocated_at_once() -> None:
    parameter = torch.ones(1 << 20, requires_grad=True)  # 4 MiB each: two of the forward pass, two of the backward
    assert 3 * 4 << 20 <= peak_bytes(lambda: (2 * parameter).exp()) <= 6 * 4 << 20
