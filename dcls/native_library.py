"""C++ sources compiled at first use, and kept in the user's cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

_FLAGS = ("-std=c++17", "-O3", "-fopenmp", "-shared", "-fPIC")
# By capability rather than -march=native, so that nodes with other processors can share a cache.
_VECTOR_FLAGS = {"AVX512": ("-mavx512f", "-mfma"), "AVX2": ("-mavx2", "-mfma")}


def compiled_library(source: Path, *options: str) -> Path:
    """Return the shared library of a source, compiled unless the cache has it.

    Args:
        options: Further ones for the compiler, after the source: libraries, too.

    Raises:
        OSError: there is no compiler.
        RuntimeError: there is no home folder.
        subprocess.CalledProcessError: the compiler does not understand the source, or a header is missing.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
    if compiler is None:
        raise OSError("no C++ compiler found")
    flags = (*_FLAGS, *_VECTOR_FLAGS.get(torch.backends.cpu.get_cpu_capability(), ()))
    key = hashlib.sha256("\0".join((source.read_text(), compiler, *flags, *options)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dcls"
    library = cache / f"{source.stem}-{key}.so"
    if not library.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:  # several processes may compile at once
            made = Path(folder) / library.name
            command = [compiler, *flags, str(source), *options, "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            os.replace(made, library)
    return library
