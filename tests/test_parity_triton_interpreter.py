"""Triton's interpreter multiplies the values of bfloat16 numbers, as a GPU does."""

import pytest
import torch

triton = pytest.importorskip("triton")
tl = triton.language


@triton.jit
def product_kernel(a_ptr, b_ptr, out_ptr):
    """out = a @ b, 16 x 16 each."""
    place = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    tl.store(out_ptr + place, tl.dot(tl.load(a_ptr + place), tl.load(b_ptr + place)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="kernels run on the GPU, not in the interpreter")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_matrices(dtype) -> None:
    a, b = torch.randn(16, 16).to(dtype), torch.randn(16, 16).to(dtype)
    out = torch.full((16, 16), float("nan"))
    product_kernel[(1,)](a, b, out)
    torch.testing.assert_close(out, a.float() @ b.float(), rtol=1e-5, atol=1e-5)
