import subprocess
import sys
from pathlib import Path

import pytest

from dcls.depthwise import native

pytestmark = pytest.mark.usefixtures("poisoned_memory")


def test_without_a_home_folder_pytorch_takes_over_and_says_so(monkeypatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(native.Path, "home", no_home)
    with pytest.warns(UserWarning, match="could not be compiled .(no C.. compiler|Could not determine home directory)"):
        assert native._correlate_function.__wrapped__() is None


def test_without_a_compiler_pytorch_takes_over_and_says_so(tmp_path) -> None:
    code = (
        "import torch, warnings, dcls\n"
        "from dcls.depthwise.dispatch import choose_backend\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    names = [choose_backend(torch.zeros(1, 1, 1, 1), (1, 1)).__name__ for _ in range(2)]\n"
        "print(names, [str(w.message) for w in caught])\n"
    )
    environment = {"PATH": "", "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.startswith(
        "['dcls.depthwise.matmul', 'dcls.depthwise.matmul'] ['the CPU kernels of dcls could not be compiled (no C++ compiler"
    )
    assert result.stdout.count("could not be compiled") == 1
