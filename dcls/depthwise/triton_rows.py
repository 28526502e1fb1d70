"""Backend for large maps on GPUs: rows of pixels times Toeplitz matrices of kernel rows, on tensor cores.

A direct convolution does h * w multiply-adds a pixel on ordinary cores; this does h * W on tensor cores, which are an
order of magnitude faster. Tiles follow from the shape, without tuning at run time: results must not depend on timings.
"""

import functools
import importlib.util
import os
import shutil
import warnings
from types import ModuleType

import torch
from torch import Tensor

from dcls.depthwise.geometry import Padding, output_size

LEAST_TILE, LARGEST_TILE = 16, 64  # tensor cores take 16 at least
_WARPS = 8  # with fewer, registers spill


def is_installed() -> bool:
    """Whether there is Triton, as there is with PyTorch for NVIDIA GPUs on Linux."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def is_available(device: torch.device) -> bool:
    """Whether Triton's kernels run on this device: an NVIDIA GPU since Ampere, with a C compiler for Triton's use."""
    if not is_installed() or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    if any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return True
    warnings.warn(
        "there is no C compiler, which Triton needs; large convolutions run on slower kernels of PyTorch. Install gcc, "
        "or set CC to a C compiler",
        stacklevel=2,
    )
    return False


def depthwise_fwd(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W'); accumulates in float32."""
    input, kernel = input.contiguous(), kernel.contiguous()
    batch, channels, height, width = input.shape
    rows, columns = output_size((height, width), (kernel.shape[2], kernel.shape[3]), padding)
    out = input.new_empty(batch, channels, rows, columns)
    if out.numel():
        tile, tile_rows = tile_width(columns), _tile_rows(input)
        grid = (_count(batch * rows, tile_rows), channels, _count(columns, tile))
        with torch.cuda.device_of(input):
            _kernels().depthwise_fwd_kernel[grid](
                input,
                kernel,
                kernel if bias is None else bias.contiguous(),
                out,
                *input.shape,
                rows,
                columns,
                *kernel.shape[2:],
                padding.top,
                padding.left,
                HAS_BIAS=bias is not None,
                BLOCK_ROWS=tile_rows,
                BLOCK_OUT=tile,
                BLOCK_IN=tile_width(width),
                num_warps=_WARPS,
            )
    return out


def depthwise_bwd_weight(grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w); accumulates in float32."""
    grad, input = grad.contiguous(), input.contiguous()
    channels, width = input.shape[1], input.shape[3]
    rows, columns = kernel_size
    out_width = grad.shape[3]
    by_column = input.new_zeros(channels, rows, out_width, columns, dtype=torch.float32)
    if by_column.numel():
        out_tile, in_tile = tile_width(out_width), tile_width(width)
        grid = (channels * rows, _count(out_width, out_tile), columns_met(width, columns) // in_tile)
        with torch.cuda.device_of(input):
            _kernels().depthwise_bwd_weight_kernel[grid](
                grad,
                input,
                by_column,
                *input.shape,
                *grad.shape[2:],
                rows,
                columns,
                padding.top,
                padding.left,
                BLOCK_ROWS=_tile_rows(input),
                BLOCK_OUT=out_tile,
                BLOCK_IN=in_tile,
                num_warps=_WARPS,
            )
    return by_column.sum(2).to(input.dtype).unsqueeze(1)


def tile_width(width: int) -> int:
    """Columns of one tile: a power of two."""
    return min(LARGEST_TILE, max(LEAST_TILE, 1 << (width - 1).bit_length()))


def columns_met(width: int, kernel_width: int) -> int:
    """Input columns, whole tiles of them, that are multiplied for each output column."""
    tile = tile_width(width)
    return tile * _count(min(width, tile + kernel_width - 1), tile)


def _tile_rows(input: Tensor) -> int:
    """Rows of one tile, as many as registers hold."""
    return 32 if input.dtype == torch.float32 else 64


def _count(extent: int, tile: int) -> int:
    return -(-extent // tile)


def _kernels() -> ModuleType:
    from dcls.depthwise import triton_kernels  # only now: Triton need not be installed

    return triton_kernels
