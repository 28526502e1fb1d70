#!/usr/bin/env python3
"""The large-kernel depthwise convolution alone beside ``F.conv2d``, at every stage of ConvNeXt-T for 224 px images.

    python -m benchmarks.convolution                                  CPU, float32, batch 8
    python -m benchmarks.convolution --device cuda --batch 128        GPU, bfloat16, with the roofline

Times of the forward pass and of both gradients. ``F.conv2d`` runs in both memory formats and the faster one counts;
this project's runs in channels last, as in ConvNeXt. All sides take turns; the table shows medians over the rounds.

The roofline is the least time that the hardware allows: bytes of input, output and kernel by the memory's bandwidth, or
the direct convolution's FLOPs, after cropping, by the tensor cores' speed, whichever is more; as given by --bandwidth
and --flops (defaults: NVIDIA's numbers for an H200).
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import median_ratio, seconds_in_turn
from dcls.depthwise import Padding, depthwise_conv2d
from dcls.depthwise.geometry import crop_unreachable
from training.run_folder import describe_environment

STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))
SIZES = (7, 17, 23, 51)
OURS = "this project"
PYTORCH = {torch.contiguous_format: "contiguous", torch.channels_last: "channels last"}
PASSES = ("forward", "input gradient", "weight gradient")


@dataclass(frozen=True)
class Case:
    """One convolution with "same" padding."""

    batch: int
    channels: int
    extent: int
    size: int
    device: str

    @property
    def dtype(self) -> torch.dtype:
        """Return bfloat16 on a GPU, float32 on a CPU."""
        return torch.bfloat16 if self.device == "cuda" else torch.float32

    def tensors(self, memory_format: torch.memory_format) -> tuple[Tensor, Tensor, Tensor]:
        """Draw input, kernel and output gradient."""
        shape = (self.batch, self.channels, self.extent, self.extent)
        randn = partial(torch.randn, device=self.device, dtype=self.dtype)
        input, grad = (randn(shape).to(memory_format=memory_format) for _ in range(2))
        return input, randn((self.channels, 1, self.size, self.size)), grad

    def least_seconds(self, bandwidth: float, flops: float) -> float:
        """Return the roofline of one pass."""
        half = self.size // 2
        kernel = torch.empty(self.channels, 1, self.size, self.size, device="meta")
        cropped, _ = crop_unreachable(kernel, Padding(half, half, half, half), (self.extent, self.extent))
        pixels = self.batch * self.channels * self.extent**2
        moved = self.dtype.itemsize * (2 * pixels + cropped.numel())
        return max(moved / bandwidth, 2 * pixels * cropped[0].numel() / flops)


def make_pass(
    convolve: Callable[[Tensor, Tensor], Tensor], tensors: tuple[Tensor, Tensor, Tensor], which: str
) -> Callable[[], object]:
    """Return a function that runs the forward pass, or one gradient of a forward pass that was run before."""
    input, kernel, grad = tensors
    if which == "forward":
        return lambda: convolve(input, kernel)
    wanted = (input if which == "input gradient" else kernel).requires_grad_()
    out = convolve(input, kernel)
    return lambda: torch.autograd.grad(out, wanted, grad, retain_graph=True)


def measure(case: Case, which: str, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a pass on all sides."""
    half = case.size // 2

    def pytorch(input: Tensor, kernel: Tensor) -> Tensor:
        return F.conv2d(input, kernel, padding=half, groups=case.channels)

    def ours(input: Tensor, kernel: Tensor) -> Tensor:
        return depthwise_conv2d(input, kernel, None, (half, half, half, half))

    passes = {name: make_pass(pytorch, case.tensors(layout), which) for layout, name in PYTORCH.items()}
    passes[OURS] = make_pass(ours, case.tensors(torch.channels_last), which)
    return seconds_in_turn(passes, rounds, case.device, repetitions=10 if case.device == "cuda" else 1)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bandwidth", type=float, default=4.8e12, help="bytes a second")
    parser.add_argument("--flops", type=float, default=9.9e14, help="a second, dense bfloat16")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    print(f"{describe_environment()}; {options.device}, batch {options.batch}, median of {options.rounds} rounds\n")
    print("| C x H x W | k | pass | F.conv2d | in | this project | faster |" + (" of the roofline |" if on_gpu else ""))
    print("|---|---|---|---|---|---|---|" + ("---|" if on_gpu else ""))
    totals: dict[tuple[int, int, int], tuple[float, float]] = {}
    for channels, extent in STAGES:
        for size in SIZES:
            case = Case(options.batch, channels, extent, size, options.device)
            pytorch_total = our_total = 0.0
            for which in PASSES:
                times = measure(case, which, options.rounds)
                medians = {side: statistics.median(t) for side, t in times.items()}
                best = min(PYTORCH.values(), key=medians.__getitem__)
                pytorch_total, our_total = pytorch_total + medians[best], our_total + medians[OURS]
                line = (
                    f"| {channels} x {extent} x {extent} | {size} | {which} | {1e3 * medians[best]:.2f} ms | {best} "
                    f"| {1e3 * medians[OURS]:.2f} ms | {median_ratio(times, best, OURS):.1f}x |"
                )
                if on_gpu:
                    line += f" {case.least_seconds(options.bandwidth, options.flops) / medians[OURS]:.0%} |"
                print(line, flush=True)
            totals[channels, extent, size] = pytorch_total, our_total
    print_totals(totals)


def print_totals(totals: dict[tuple[int, int, int], tuple[float, float]]) -> None:
    """Print the sums of the three passes in ms, ``F.conv2d`` / this project, as a table of stages and sizes."""
    print(f"\n| C x H x W | {' | '.join(f'k = {size}' for size in SIZES)} |")
    print("|---" * (len(SIZES) + 1) + "|")
    for channels, extent in STAGES:
        pairs = [totals[channels, extent, size] for size in SIZES]
        cells = [f"{1e3 * theirs:.1f} / {1e3 * ours:.1f} ms, {theirs / ours:.1f}x" for theirs, ours in pairs]
        print(f"| {channels} x {extent} x {extent} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
