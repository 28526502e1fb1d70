#!/usr/bin/env python3
"""Peak memory of building kernels that do not factorize over the axes, forward and backward.

python -m benchmarks.dense_construction

One depthwise layer of 768 channels with 26 elements a kernel, float32, on a CPU with one thread, under Linux. Allocated
is what PyTorch holds at once between the start of the forward and the end of the backward pass. Resident is by how much
a fresh process grows in that time: with glibc's malloc returning every large freed block at once
(MALLOC_MMAP_THRESHOLD_=65536), and as it is by default, when it keeps many of them. The factorized Gaussian is there
for comparison.
"""

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import dcls
from benchmarks.construction import forward_and_backward, peak_bytes
from training.run_folder import describe_environment

CHANNELS, COUNT = 768, 26
SIZES = (7, 17, 23)
INTERPOLATIONS = ("gaussian", "correlated_gaussian", "rotated_gaussian")
RETURN_FREED = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def builder(interpolation: str, size: int, channels: int = CHANNELS) -> Callable[[], Tensor]:
    """Return a function that builds a layer's kernel."""
    layer = dcls.Dcls2d(channels, channels, COUNT, size, groups=channels, interpolation=interpolation)
    return layer.kernel


def resident_growth(interpolation: str, size: int, environment: dict[str, str]) -> int:
    """Return by how many bytes a fresh process grows at most while it builds a kernel."""
    os.environ.update(environment)  # read by the C library when a process starts
    try:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            return process.apply(measure_growth, (interpolation, size))
    finally:
        for name in environment:
            del os.environ[name]


def measure_growth(interpolation: str, size: int) -> int:
    """Return by how many bytes this process grows at most while it builds a kernel."""
    torch.set_num_threads(1)
    forward_and_backward(builder(interpolation, 3, channels=1200))  # in several groups: what code is loaded once
    build = builder(interpolation, size)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    forward_and_backward(build)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def main() -> None:
    """Print the table as Markdown."""
    torch.set_num_threads(1)
    print(f"{describe_environment()}; {CHANNELS} channels, {COUNT} elements\n")
    print("| interpolation | kernel | allocated | resident, freed is returned | resident, by default |")
    print("|---|---|---|---|---|")
    for interpolation in INTERPOLATIONS:
        for size in SIZES:
            allocated = peak_bytes(builder(interpolation, size))
            growths = [resident_growth(interpolation, size, environment) for environment in (RETURN_FREED, {})]
            cells = [f"{count / 2**20:.1f} MiB" for count in (allocated, *growths)]
            print(f"| {interpolation} | {size}x{size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
