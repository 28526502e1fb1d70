#!/usr/bin/env python3
"""Whole models: training step, evaluation and memory beside timm's model and the reference package's.

    python -m benchmarks.models                                                   CPU, float32, batch 8
    python -m benchmarks.models --device cuda --batch 128 256 [--compile]         GPU, bfloat16

A training step is forward pass, cross-entropy, backward pass and AdamW on 224 px images; evaluation is a forward pass
in inference mode. timm's model and ours run in both memory formats and the faster one counts, the reference package's
in channels last; so does ours where nothing is said. "folded" has been through ``dcls.reparameterize``. All sides but
the reference package, which follows, take turns, on the CPU in a process each; the table shows medians over the rounds.
"""

import argparse
import math
import statistics
from collections.abc import Callable
from functools import partial

import timm
import torch
import torch.nn.functional as F
from torch import nn

import dcls
import models  # noqa: F401  registers the variants
from benchmarks.timing import median_ratio, peak_memory, seconds_in_processes, seconds_in_turn
from parity.reference import put_reference_layers
from training.run_folder import describe_environment

MODELS = ("convnext_tiny", "convformer_s18")
IMAGE_SIZE = 224
OURS, FOLDED, REFERENCE = "this project", "this project, folded", "reference package"
DENSE = "dense convolution"  # in benchmarks.kernel_size
TIMM = {torch.contiguous_format: "timm 7x7, contiguous", torch.channels_last: "timm 7x7, channels last"}
OURS_BOTH, FOLDED_BOTH = ([f"{side}, contiguous", side] for side in (OURS, FOLDED))
COLUMNS = [*TIMM.values(), *OURS_BOTH, *FOLDED_BOTH, REFERENCE]


def make_model(name: str, side: str, size: int = 23) -> nn.Module:
    """Build the model of a side: timm's, or with kernels of size x size ours, timm's dense one or the reference's."""
    torch.manual_seed(0)
    if side == DENSE:
        return timm.create_model(name, kernel_sizes=size)
    if side in TIMM.values():
        return timm.create_model(name)
    ours = timm.create_model(f"{name}_dcls_gaussian", dilated_kernel_size=size)
    if side == REFERENCE:
        plain = timm.create_model(name)
        put_reference_layers(plain, ours)
        return plain
    return ours


def memory_format(side: str) -> torch.memory_format:
    """Return the memory format of images and weights."""
    return torch.contiguous_format if side.endswith("contiguous") else torch.channels_last


def make_images(side: str, batch: int, device: str) -> torch.Tensor:
    """Draw random images (batch, 3, 224, 224)."""
    return torch.randn(batch, 3, IMAGE_SIZE, IMAGE_SIZE, device=device).to(memory_format=memory_format(side))


def autocast(device: str) -> torch.autocast:
    """Return the context of a forward pass: bfloat16 on a GPU, float32 on a CPU."""
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def training_step(
    name: str, side: str, batch: int, device: str, is_compiled: bool = False, size: int = 23
) -> Callable[[], object]:
    """Return a function that makes one step."""
    model = make_model(name, side, size).to(device).to(memory_format=memory_format(side)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device == "cuda")
    images, targets = make_images(side, batch, device), torch.randint(0, 1000, (batch,), device=device)
    if is_compiled:
        model.compile()

    def step() -> None:
        with autocast(device):
            loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def evaluation(name: str, side: str, batch: int, device: str, is_compiled: bool = False) -> Callable[[], object]:
    """Return a function that computes the logits of one batch."""
    model = make_model(name, side).to(device).to(memory_format=memory_format(side)).eval()
    images = make_images(side, batch, device)
    if side in FOLDED_BOTH:
        dcls.reparameterize(model, images[:1])
        model.to(memory_format=memory_format(side))
    if is_compiled:
        model.compile()

    @torch.inference_mode()
    def evaluate() -> torch.Tensor:
        with autocast(device):
            logits: torch.Tensor = model(images)
        return logits

    return evaluate


def compare(
    make_pass: Callable[..., Callable[[], object]], sides: list[str], name: str, batch: int, options: argparse.Namespace
) -> str:
    """Return a row of the table: medians of all sides, and ratios to the faster timm and to the reference."""
    arguments = (batch, options.device)
    times = seconds(
        {side: partial(make_pass, name, side, *arguments, options.compile) for side in sides},
        options.rounds,
        options.device,
    )
    timm_best, ours_best, folded_best = (
        min(formats, key=lambda side: statistics.median(times.get(side, [math.inf])))
        for formats in (TIMM.values(), OURS_BOTH, FOLDED_BOTH)
    )
    ratios = [
        f"{median_ratio(times, side, timm_best):.2f}x" if side in times else "-" for side in (ours_best, folded_best)
    ]
    faster = "-"
    if options.reference_rounds:
        make_reference = partial(make_pass, name, REFERENCE, *arguments)
        times |= seconds({REFERENCE: make_reference}, options.reference_rounds, options.device)
        faster = f"{statistics.median(times[REFERENCE]) / statistics.median(times[ours_best]):.1f}x"
    cells = [f"{1e3 * statistics.median(times[side]):.0f} ms" if side in times else "-" for side in COLUMNS]
    what = make_pass.__name__.replace("_", " ")
    return f"| {name}, {what}, batch {batch} | {' | '.join([*cells, *ratios, faster])} |"


def seconds(makers: dict[str, Callable[[], Callable[[], object]]], rounds: int, device: str) -> dict[str, list[float]]:
    """Measure all passes in turn; on the CPU each in a process of its own."""
    if device == "cpu":
        return seconds_in_processes(makers, rounds)
    return seconds_in_turn({side: make() for side, make in makers.items()}, rounds, device, repetitions=5)


def memory_row(name: str, batch: int, device: str, *, with_reference: bool) -> str:
    """Return a row of the table: peak memory of a training step, each side in a process of its own."""
    sides = [TIMM[torch.channels_last], OURS] + ([REFERENCE] if with_reference else [])
    peaks = {side: peak_memory(training_step, name, side, batch, device, device=device) for side in sides}
    cells = [f"{peaks[side] / 2**30:.2f} GiB" if side in peaks else "-" for side in COLUMNS]
    less = f"{peaks[REFERENCE] / peaks[OURS]:.1f}x" if with_reference else "-"
    ratio = peaks[OURS] / peaks[TIMM[torch.channels_last]]
    return f"| {name}, memory of a training step, batch {batch} | {' | '.join(cells)} | {ratio:.2f}x | - | {less} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, nargs="+", default=[8])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reference-rounds", type=int, default=1, help="0 leaves the reference package out")
    parser.add_argument("--compile", action="store_true", help="compile all but the reference's model")
    options = parser.parse_args()
    precision = "bfloat16" if options.device == "cuda" else "float32"
    mode = "compiled" if options.compile else "eager"
    print(f"{describe_environment()}; {options.device}, {precision}, {mode}, median of {options.rounds} rounds\n")
    print(f"| | {' | '.join(COLUMNS)} | this project / timm | folded / timm | reference / this project |")
    print("|---" * (len(COLUMNS) + 4) + "|")
    for name in options.models:
        for batch in options.batch:
            print(compare(training_step, [*TIMM.values(), *OURS_BOTH], name, batch, options), flush=True)
            print(compare(evaluation, [*TIMM.values(), *OURS_BOTH, *FOLDED_BOTH], name, batch, options), flush=True)
            print(memory_row(name, batch, options.device, with_reference=options.reference_rounds > 0), flush=True)


if __name__ == "__main__":
    main()
