"""Backend for CPUs: C++ kernels that are compiled at first use; see native.cpp."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dcls.depthwise.geometry import Padding, output_size

_SOURCE = Path(__file__).with_name("native.cpp")
_FLAGS = ("-std=c++17", "-O3", "-fopenmp", "-shared", "-fPIC")
# By capability rather than -march=native, so that nodes with other processors can share a cache.
_VECTOR_FLAGS = {"AVX512": ("-mavx512f", "-mfma"), "AVX2": ("-mavx2", "-mfma")}


def is_available() -> bool:
    """Whether there is a compiler that understands the kernels; compiles them at the first call."""
    return _correlate_function() is not None


def convolve(input: Tensor, kernel: Tensor, bias: Tensor | None, padding: Padding) -> Tensor:
    """(B, C, H, W), (C, 1, h, w), (C,) -> (B, C, H', W'), channels last; accumulates in float32."""
    filters = kernel.permute(1, 2, 3, 0)
    out = _correlate(input.permute(0, 2, 3, 1), filters, bias, padding, sum_batch=False)
    return out.permute(0, 3, 1, 2).to(input.dtype)


def weight_gradient(grad: Tensor, input: Tensor, kernel_size: tuple[int, int], padding: Padding) -> Tensor:
    """(B, C, H', W'), (B, C, H, W) -> (C, 1, h, w)."""
    out = _correlate(input.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1), None, padding, sum_batch=True)
    return out.permute(3, 0, 1, 2).to(input.dtype)


def _correlate(image: Tensor, filters: Tensor, bias: Tensor | None, padding: Padding, *, sum_batch: bool) -> Tensor:
    """(B, H, W, C), (B or 1, h, w, C), (C,) -> (B, H', W', C), or (1, H', W', C) if summed over the batch."""
    function = _correlate_function()
    assert function is not None, "choose this backend only where is_available()"
    image, filters = image.float().contiguous(), filters.float().contiguous()
    bias = None if bias is None else bias.float().contiguous()
    batch, height, width, channels = image.shape
    rows, columns = output_size((height, width), (filters.shape[1], filters.shape[2]), padding)
    out = image.new_empty(1 if sum_batch else batch, rows, columns, channels)
    if out.numel():
        function(
            *(None if t is None else t.data_ptr() for t in (image, filters, bias, out)),
            *image.shape,
            *filters.shape[:3],
            rows,
            columns,
            padding.top,
            padding.left,
            int(sum_batch),
            torch.get_num_threads(),
        )
    return out


@functools.cache
def _correlate_function() -> Callable[..., None] | None:
    try:
        function = ctypes.CDLL(str(_compiled())).correlate
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:  # RuntimeError: there is no home folder
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        warnings.warn(
            f"the CPU kernels of dcls could not be compiled ({reason}); slower ones of PyTorch are used. Install g++, "
            "or set CXX to a C++ compiler",
            stacklevel=2,
        )
        return None
    function.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long] * 13
    function.restype = None
    return function


def _compiled() -> Path:
    """The shared library, compiled unless the cache has it."""
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if compiler is None:
        raise OSError("no C++ compiler found")
    flags = (*_FLAGS, *_VECTOR_FLAGS.get(torch.backends.cpu.get_cpu_capability(), ()))
    key = hashlib.sha256("\0".join((_SOURCE.read_text(), compiler, *flags)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dcls"
    library = cache / f"native-{key}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:  # several processes may compile at once
            made = Path(folder) / library.name
            subprocess.run(
                [compiler, *flags, str(_SOURCE), "-o", str(made)], check=True, capture_output=True, text=True
            )
            os.replace(made, library)
    return library
