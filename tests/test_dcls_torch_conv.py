"""No convolution of this library reaches the ones of PyTorch that never return on processors with avx512_bf16."""

import copy

import pytest
import torch
from torch import nn

import dcls
from dcls.depthwise import BACKENDS, depthwise_conv2d, use_backend
from dcls.depthwise.conv2d import FastConv2d
from dcls.torch_conv import convolve

LOW = [torch.bfloat16, torch.float16]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
# Wide depthwise kernels on a wide map of few channels, with which PyTorch 2.14 never comes back.
OPTIONS = {
    "same": dict(padding="same"),
    "strided": dict(padding=(0, 8), stride=2),
    "dilated": dict(padding="same", dilation=2),
    "circular": dict(padding="same", padding_mode="circular"),
    "much padding": dict(padding=(0, 17)),
}


def check(layer: nn.Module, x: torch.Tensor, autocast: bool, dtype: torch.dtype) -> None:
    exact = copy.deepcopy(layer).float()(x.float())
    if autocast:
        with torch.autocast("cpu", dtype):
            out = layer(x.float())
    else:
        out = layer.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    out.float().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert (out.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("options", OPTIONS)
def test_wide_depthwise_layers_return_in_low_precision(options, dtype, layout, autocast, folded) -> None:
    layer = dcls.Dcls2d(2, 2, 5, (1, 17), groups=2, **OPTIONS[options])
    x = torch.randn(1, 2, 3, 90).to(memory_format=LAYOUTS[layout])
    check(layer.fuse() if folded else layer, x, autocast, dtype)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("ndim", [1, 3])
def test_wide_depthwise_layers_of_other_dimensions_return(ndim, dtype, autocast) -> None:
    layer_type, size, shape = {1: (dcls.Dcls1d, 17, (90,)), 3: (dcls.Dcls3d, (1, 1, 17), (3, 3, 90))}[ndim]
    check(layer_type(2, 2, 5, size, padding="same", groups=2), torch.randn(1, 2, *shape), autocast, dtype)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("backend", ["aten", "matmul"])
def test_backends_of_pytorch_return(backend, dtype) -> None:
    assert backend in BACKENDS
    x = torch.randn(1, 2, 3, 90).to(memory_format=torch.channels_last, dtype=dtype).requires_grad_()
    kernel = torch.randn(2, 1, 1, 17).to(dtype).requires_grad_()
    with use_backend(backend):
        out = depthwise_conv2d(x, kernel, None, (0, 0, 8, 8))
        out.float().sum().backward()
    exact = torch.nn.functional.conv2d(x.float(), kernel.float(), padding=(0, 8), groups=2)
    assert (out.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.timeout(60)
def test_a_traced_layer_returns() -> None:
    conv = FastConv2d(2, 2, (1, 17), padding=(0, 8), groups=2, dtype=torch.bfloat16)
    x = torch.randn(1, 2, 3, 90).bfloat16().to(memory_format=torch.channels_last)
    traced = torch.jit.trace(conv, (x,))
    torch.testing.assert_close(traced(x), conv(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_full_precision_is_pytorch_itself(dtype) -> None:
    x, weight, bias = (
        torch.randn(2, 4, 9, 9, dtype=dtype),
        torch.randn(4, 1, 3, 3, dtype=dtype),
        torch.randn(4).to(dtype),
    )
    expected = torch.nn.functional.conv2d(x, weight, bias, 2, 1, 1, 4)
    assert torch.equal(convolve(x, weight, bias, (2, 2), (1, 1), (1, 1), 4), expected)
