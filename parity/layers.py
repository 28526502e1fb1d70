#!/usr/bin/env python3
"""Single layers: largest difference of output and every gradient to the reference, per class and interpolation.

python -m parity.layers

Square odd sizes and positions inside the kernel, where the reference is right. In float64 what is left is rounding; the
float32 columns compare the kernels, the outputs and their gradients of single-precision layers, relative to the largest
value, because a gradient there is a sum over thousands of pixels.
"""

import torch

from dcls.reference_package import VERSIONS
from parity.reference import make_pair, outputs_and_gradients
from training.run_folder import describe_environment

NAMES = ("output", "d_input", "d_weight", "d_bias", "d_positions", "d_sigma")
SIZES = {1: (23, 64), 2: (17, 24), 3: (7, 9)}  # dilated_kernel_size, input size


def differences(ndim: int, interpolation: str, dtype: torch.dtype, relative: bool) -> dict[str, float]:
    """Return name -> largest difference, over the reference's largest value if relative."""
    torch.manual_seed(0)
    size, extent = SIZES[ndim]
    ours, theirs = make_pair(ndim, interpolation, 8, 8, 12, size, padding=size // 2, groups=4, dtype=dtype)
    x = torch.randn(2, 8, *(extent,) * ndim, dtype=dtype)
    upstream = torch.randn_like(x)
    got, expected = outputs_and_gradients(ours, x, upstream), outputs_and_gradients(theirs, x, upstream)
    assert got.keys() == expected.keys()
    return {
        name: ((got[name] - expected[name]).abs().max() / (expected[name].abs().max() if relative else 1)).item()
        for name in expected
    }


def main() -> None:
    """Print both tables as Markdown."""
    print(describe_environment())
    for dtype, relative in ((torch.float64, False), (torch.float32, True)):
        measure = "relative to the largest value" if relative else "absolute"
        print(f"\n{str(dtype).removeprefix('torch.')}, {measure}\n")
        print("| class | interpolation | " + " | ".join(NAMES) + " |")
        print("|---|---|" + "---|" * len(NAMES))
        for ndim in SIZES:
            for interpolation in VERSIONS:
                result = differences(ndim, interpolation, dtype, relative)
                cells = [f"{result[name]:.1e}" if name in result else "-" for name in NAMES]
                print(f"| Dcls{ndim}d | {interpolation} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
