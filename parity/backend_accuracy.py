#!/usr/bin/env python3
"""Every backend of the depthwise convolution against its definition in float64, on odd shapes.

    python -m parity.backend_accuracy [--device cuda]

Print the largest of ||result - exact|| / ||exact|| over output, input, weight and bias gradient. Inputs are rounded to
the precision before both compute, so that only the computation is compared. On the CPU Triton runs in its interpreter.
"""

import argparse
import os
import sys

if not any("cuda" in argument for argument in sys.argv):
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, by torch

import torch
from torch import Tensor

from dcls.depthwise import BACKENDS, Padding, depthwise_conv2d, native, reference, triton_rows, use_backend
from training.run_folder import describe_environment

# (B, C, H, W), (h, w), (top, bottom, left, right)
SHAPES = {
    "batch of one, H != W": ((1, 5, 6, 11), (13, 23), (6, 6, 11, 11)),
    "kernel beyond twice the map": ((2, 9, 7, 7), (51, 51), (25, 25, 25, 25)),
    "odd number of channels": ((2, 13, 14, 14), (23, 23), (11, 11, 11, 11)),
    "non-contiguous": ((2, 4, 9, 20), (7, 5), (3, 3, 2, 2)),
    "even kernel, odd padding": ((3, 17, 8, 8), (4, 6), (1, 2, 2, 3)),
    "wider than a tile": ((1, 3, 5, 70), (5, 17), (2, 2, 8, 8)),
}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def worst_error(backend: str, dtype: torch.dtype, case: str, device: str) -> float:
    """Return the largest relative error of output and gradients."""
    shape, size, padding = SHAPES[case]
    torch.manual_seed(0)
    tensors = [torch.randn(shape), torch.randn(shape[1], 1, *size), torch.randn(shape[1])]
    exact = [t.to(dtype).double().requires_grad_() for t in tensors]
    input, kernel, bias = exact
    expected = reference.depthwise_conv2d(input, kernel, bias, Padding(*padding))
    grad = torch.randn(expected.shape).to(dtype)
    ours = [t.detach().to(device, dtype).requires_grad_() for t in exact]
    if case == "non-contiguous":
        ours[0] = ours[0].detach().repeat_interleave(2, -1)[..., ::2].requires_grad_()
    input, kernel, bias = ours
    with use_backend(backend):
        actual = depthwise_conv2d(input, kernel, bias, padding)
        gradients = torch.autograd.grad(actual, ours, grad.to(device))
    pairs = zip((actual, *gradients), (expected, *torch.autograd.grad(expected, exact, grad.double())), strict=True)
    return max(relative_error(a, b) for a, b in pairs)


def runnable_backends(device: str) -> list[str]:
    """Return the names of the backends that this machine can run; on the CPU Triton's needs its interpreter."""
    runs = {
        "matmul": device == "cpu",
        "native": device == "cpu" and native.is_available(),
        "triton": triton_rows.is_installed(),
    }
    return [name for name in BACKENDS if runs.get(name, True)]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the error in the Euclidean norm over the norm of what is expected."""
    error: float = ((actual.cpu().double() - expected).norm() / expected.norm()).item()
    return error


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    device = parser.parse_args().device
    names = runnable_backends(device)
    if device == "cpu" and "triton" in names:
        from parity.triton_interpreter import multiply_values_of_bfloat16  # Triton need not be installed

        multiply_values_of_bfloat16()
    print(f"{describe_environment()}; {device}\n")
    print("| precision | shape | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for precision, dtype in PRECISIONS.items():
        for case in SHAPES:
            errors = " | ".join(f"{worst_error(name, dtype, case, device):.1e}" for name in names)
            print(f"| {precision} | {case} | {errors} |", flush=True)


if __name__ == "__main__":
    main()
