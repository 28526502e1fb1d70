#!/usr/bin/env python3
"""Time and peak memory of building a Gaussian kernel, forward and backward, against the reference package.

python -m benchmarks.construction

One depthwise layer of C channels, 26 elements in 23x23, float32, on the CPU. Both sides take turns, each with one call
to warm the caches; the table shows medians over the rounds. Peak memory is what is allocated at once between the start
of the forward and the end of the backward pass.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import median_ratio, seconds_in_turn
from parity.reference import make_pair
from training.run_folder import describe_environment

CHANNELS = (96, 768)
ROUNDS = 7


def builders(channels: int) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Return functions that build our kernel and the reference's, from equal parameters."""
    ours, theirs = make_pair(2, "gaussian", channels, channels, 26, 23, groups=channels, dtype=torch.float32)
    return ours.kernel, lambda: theirs.DCK(theirs.weight, theirs.P, theirs.SIG)


def forward_and_backward(build: Callable[[], Tensor]) -> None:
    """Build a kernel once, with all its gradients."""
    kernel = build()
    kernel.backward(torch.ones_like(kernel))


def peak_bytes(build: Callable[[], Tensor]) -> int:
    """Return the most memory allocated at once, from the allocator's own events."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        forward_and_backward(build)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def main() -> None:
    """Print the table as Markdown."""
    print(f"{describe_environment()}; {torch.get_num_threads()} threads, median of {ROUNDS} rounds\n")
    print("| C | time, reference | time, this project | faster | memory, reference | memory, this project | less |")
    print("|---|---|---|---|---|---|---|")
    for channels in CHANNELS:
        ours, theirs = builders(channels)
        passes = {"ours": partial(forward_and_backward, ours), "theirs": partial(forward_and_backward, theirs)}
        times = seconds_in_turn(passes, ROUNDS, repetitions=5, warm_ups=1)
        ours_s, theirs_s = (statistics.median(times[side]) for side in passes)
        ratio = median_ratio(times, "theirs", "ours")
        ours_b, theirs_b = peak_bytes(ours), peak_bytes(theirs)
        print(
            f"| {channels} | {1e3 * theirs_s:.0f} ms | {1e3 * ours_s:.1f} ms | {ratio:.0f}x "
            f"| {theirs_b / 2**20:.0f} MiB | {ours_b / 2**20:.1f} MiB | {theirs_b / ours_b:.0f}x |"
        )


if __name__ == "__main__":
    main()
