from types import SimpleNamespace

import torch

from dcls.depthwise import BACKENDS, triton_rows
from dcls.depthwise.dispatch import choose_backend


def chosen(device: str, shape: tuple[int, ...], size: tuple[int, int], dtype: torch.dtype = torch.bfloat16) -> str:
    """The backend's name; the tensor of another device is only claimed to be there."""
    tensor = SimpleNamespace(device=torch.device(device), dtype=dtype, shape=shape)
    return next(name for name, module in BACKENDS.items() if module is choose_backend(tensor, size))


def test_the_choice_on_a_gpu_weighs_multiply_adds(monkeypatch) -> None:
    monkeypatch.setattr(triton_rows, "is_available", lambda device: True)
    assert chosen("cuda", (128, 96, 56, 56), (23, 23)) == "triton"
    assert chosen("cuda", (128, 192, 28, 28), (23, 23)) == "triton"
    assert chosen("cuda", (128, 384, 14, 14), (23, 23)) == "toeplitz"
    assert chosen("cuda", (128, 768, 7, 7), (13, 13)) == "toeplitz"
    assert chosen("cuda", (1, 384, 14, 14), (23, 23)) != "toeplitz"  # too few images for so large a matrix
    assert chosen("cuda", (128, 96, 56, 56), (3, 3)) == "aten"
    assert chosen("cuda", (128, 96, 56, 56), (23, 23), torch.float64) == "aten"
    assert chosen("xpu", (128, 96, 56, 56), (23, 23)) == "aten"
    assert chosen("cuda", (128, 96, 56, 56), (7, 7), torch.float32) == "aten"
    assert chosen("cuda", (128, 96, 56, 56), (23, 23), torch.complex64) == "aten"
    monkeypatch.setattr(triton_rows, "is_available", lambda device: False)
    assert chosen("cuda", (128, 96, 56, 56), (23, 23)) == "aten"
