"""Backend for CPUs: C++ kernels that are compiled at first use; see native.cpp."""

import ctypes
import functools
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcls.depthwise.geometry import Padding, output_size
from dcls.native_library import compiled_library

_SOURCE = Path(__file__).with_name("native.cpp")


def is_available() -> bool:
    """Whether there is a compiler that understands the kernels; compiles them at the first call."""
    return _correlate_function() is not None


def depthwise_fwd(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W'), channels last where input is; accumulates in float32."""
    batch, channels = input.shape[:2]
    size = output_size((input.shape[2], input.shape[3]), (kernel.shape[2], kernel.shape[3]), padding)
    memory_format = torch.channels_last if input.stride(1) == 1 else torch.contiguous_format
    out = torch.empty(batch, channels, *size, dtype=torch.float32, device="cpu", memory_format=memory_format)
    _correlate(_channels_last(input), kernel.permute(1, 2, 3, 0), bias, out.permute(0, 2, 3, 1), padding)
    return out.to(input.dtype)


def depthwise_bwd_weight(grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""
    out = torch.empty(input.shape[1], 1, *kernel_size, dtype=torch.float32, device="cpu")
    if len(input) == 0:
        return out.zero_().to(input.dtype)
    _correlate(_channels_last(input), _channels_last(grad), None, out.permute(1, 2, 3, 0), padding)
    return out.to(input.dtype)


def _channels_last(map: Tensor) -> Tensor:
    """View (B, C, H, W) as (B, H, W, C)."""
    return map.permute(0, 2, 3, 1)


def _correlate(image: Tensor, filters: Tensor, bias: Tensor | None, out: Tensor, padding: Padding) -> None:
    """(B, H, W, C), (B or 1, h, w, C), (C,) -> (B, H', W', C), or summed over the batch where out is (1, H', W', C)."""
    function = _correlate_function()
    assert function is not None, "choose this backend only where is_available()"
    image, filters = image.float(), filters.float()  # bound here, so that their memory outlives the call
    bias = None if bias is None else bias.float().contiguous()
    if out.numel():
        function(
            *_pointer_and_strides(image),
            *_pointer_and_strides(filters),
            *_pointer_and_strides(out),
            None if bias is None else bias.data_ptr(),
            padding.top,
            padding.left,
            torch.get_num_threads(),
        )


def _pointer_and_strides(array: Tensor) -> tuple[int, Any, Any]:
    longs = ctypes.c_long * 4
    return array.data_ptr(), longs(*array.shape), longs(*array.stride())


@functools.cache
def _correlate_function() -> Callable[..., None] | None:
    try:
        function = ctypes.CDLL(str(compiled_library(_SOURCE))).correlate
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: there is no home folder
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        warnings.warn(
            f"the CPU kernels of dcls could not be compiled ({reason}); slower ones of PyTorch are used. Install g++, "
            "or set CXX to a C++ compiler",
            stacklevel=2,
        )
        return None
    function.argtypes = [ctypes.c_void_p] * 10 + [ctypes.c_long] * 3
    function.restype = None
    return function
