"""Every backend of the depthwise convolution against its definition."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from depthwise_cases import (
    IN_FLOAT32,
    SHAPES,
    TOLERANCE,
    arguments,
    output_and_gradients,
    relative_error,
    skip_unless_it_runs_here,
)

from dcls.depthwise import BACKENDS, Padding, depthwise_conv2d, native, reference, triton_rows, use_backend

pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    skip_unless_it_runs_here(request.param)
    return request.param


def check_output_and_all_gradients(backend, dtype, case, layout="contiguous", device="cpu") -> None:
    shape, size, padding = case
    # Rounded once, so that only the computation is compared.
    exact = tuple(t.detach().to(dtype).double().requires_grad_() for t in arguments(shape, size))
    seed_grad = torch.randn_like(reference.depthwise_conv2d(*exact, Padding(*padding))).to(dtype).double()
    expected = output_and_gradients(lambda *t: reference.depthwise_conv2d(*t, Padding(*padding)), exact, seed_grad)
    ours = [t.detach().to(device, dtype).requires_grad_() for t in exact]
    if layout == "channels_last":
        ours[0] = ours[0].detach().to(memory_format=torch.channels_last).requires_grad_()
    elif layout == "strided":
        ours[0] = F.pad(ours[0].detach(), (1, 1, 1, 1))[..., 1:-1, 1:-1].requires_grad_()
    with use_backend(backend):
        actual = output_and_gradients(lambda *t: depthwise_conv2d(*t, padding), ours, seed_grad.to(device))
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        assert relative_error(a.cpu(), b) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "backend, dtype, layout",
    [
        (backend, dtype, layout)
        for backend in BACKENDS
        for dtype in TOLERANCE
        for layout in (["channels_last"] if backend == "triton" else ["contiguous", "channels_last", "strided"])
        if dtype != torch.float64 or backend not in IN_FLOAT32
    ],
)
@pytest.mark.parametrize("case", SHAPES)
def test_output_and_all_gradients(backend, dtype, case, layout) -> None:
    skip_unless_it_runs_here(backend)
    check_output_and_all_gradients(backend, dtype, SHAPES[case], layout)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["aten", "toeplitz", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("case", [*SHAPES, "a stage of ConvNeXt"])
def test_output_and_all_gradients_on_a_gpu(backend, dtype, case, layout) -> None:
    stage = ((8, 48, 28, 28), (23, 23), (11, 11, 11, 11))
    check_output_and_all_gradients(backend, dtype, SHAPES.get(case, stage), layout, "cuda")


@pytest.mark.parametrize("backend", IN_FLOAT32)
def test_an_output_element_that_a_kernel_does_not_write_is_nan_here(backend, monkeypatch) -> None:
    """The kernels that get their output's memory unwritten are replaced by ones that do nothing."""
    nothing = SimpleNamespace(depthwise_fwd_kernel=defaultdict(lambda: lambda *_, **__: None))
    monkeypatch.setattr(triton_rows, "_kernels", lambda: nothing)
    monkeypatch.setattr(native, "_correlate_function", lambda: lambda *_: None)
    x, kernel, bias = (t.detach().float() for t in arguments((2, 3, 6, 6), (3, 3)))
    padding = Padding(1, 1, 1, 1)
    assert BACKENDS[backend].depthwise_fwd(x, kernel, bias, padding).isnan().all()
    if backend == "native":  # Triton adds to zeros
        assert native.depthwise_bwd_weight(x, x, (3, 3), padding).isnan().all()


def test_the_chosen_backend_is_right() -> None:
    shape, size, padding = SHAPES["same"]
    exact = arguments(shape, size)
    expected = reference.depthwise_conv2d(*exact, Padding(*padding))
    assert relative_error(depthwise_conv2d(*(t.float() for t in exact), padding), expected) < 1e-5
    assert relative_error(depthwise_conv2d(*exact, padding), expected) < 1e-12


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from dcls.depthwise import triton_kernels

sizes = {"BLOCK_ROWS": 64, "BLOCK_OUT": 64, "BLOCK_IN": 64}
ones = dict.fromkeys(("batch", "height", "kernel_height", "left"), 1)  # Triton makes constants of arguments equal to 1
for kernel, own in ((triton_kernels.depthwise_fwd_kernel, {"HAS_BIAS": True}), (triton_kernels.depthwise_bwd_weight_kernel, {})):
    for number, special in (("bf16", {}), ("bf16", ones), ("fp32", {"BLOCK_ROWS": 32})):
        constants = own | sizes | special
        signature = {name: "*" + number if name.endswith("_ptr") else "i32" for name in kernel.arg_names}
        signature |= dict.fromkeys(constants, "constexpr")
        if "by_column_ptr" in signature:
            signature["by_column_ptr"] = "*fp32"
        source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): v for name, v in constants.items()})
        compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
        print("mma" in compiled.asm["ptx"], compiled.metadata.shared)
"""


def test_triton_compiles_for_a_gpu_that_need_not_be_here() -> None:
    if not triton_rows.is_installed():
        pytest.skip("Triton is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).parent.parent
    result = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, env=environment, check=True, cwd=script
    )
    lines = [line.split() for line in result.stdout.splitlines()]
    assert len(lines) == 6
    for on_tensor_cores, shared_memory in lines:
        assert on_tensor_cores == "True"
        assert int(shared_memory) <= 99 * 1024  # what the smaller cards have


def test_without_a_compiler_or_on_older_gpus_triton_is_not_chosen(monkeypatch) -> None:
    monkeypatch.setattr(triton_rows, "is_installed", lambda: True)
    is_available, device = triton_rows.is_available.__wrapped__, torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not is_available(device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(triton_rows.shutil, "which", lambda name: "/usr/bin/gcc" if name == "gcc" else None)
    assert is_available(device)
    monkeypatch.setattr(triton_rows.shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match="no C compiler, which Triton needs"):
        assert not is_available(device)
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert not is_available(device)


@pytest.mark.parametrize("size", [7, 23])
def test_rows_of_unequal_scale(backend, size) -> None:
    """Each entry is as exact as the largest rows within reach of it, and one more, allow."""
    x, kernel, _ = arguments((2, 3, 40, 8), (size, 3))
    half = size // 2
    scale = torch.ones(40, dtype=torch.float64)
    scale[20] = 1e6
    x = (x.detach() * scale[:, None]).float()
    expected = reference.depthwise_conv2d(x.double(), kernel.detach().float().double(), None, Padding(half, half, 1, 1))
    with use_backend(backend):
        actual = depthwise_conv2d(x, kernel.detach().float(), None, (half, half, 1, 1))
    nearby = F.max_pool1d(scale[None], 2 * half + 3, stride=1, padding=half + 1)[0]
    assert ((actual - expected).abs().amax((0, 1, 3)) < 1e-5 * nearby).all()


def test_complex_numbers_are_right() -> None:
    x, kernel, _ = (t.detach() for t in arguments((2, 3, 8, 8), (5, 5)))
    actual = depthwise_conv2d(1j * x, kernel + 0j, None, (2, 2, 2, 2))
    torch.testing.assert_close(actual, 1j * depthwise_conv2d(x, kernel, None, (2, 2, 2, 2)))


def test_the_memory_format_is_kept(backend) -> None:
    x, kernel, bias = (t.float() for t in arguments((2, 8, 6, 7), (5, 5)))
    with use_backend(backend):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            out = depthwise_conv2d(x.contiguous(memory_format=memory_format), kernel, bias, (2, 2, 2, 2))
            assert out.is_contiguous(memory_format=memory_format)


def test_empty_batch(backend) -> None:
    with use_backend(backend):
        x = torch.zeros(0, 4, 6, 6, requires_grad=True)
        kernel = torch.randn(4, 1, 3, 3, requires_grad=True)
        out = depthwise_conv2d(x, kernel, None, (1, 1, 1, 1))
        out.sum().backward()
    assert out.shape == (0, 4, 6, 6) and not kernel.grad.any()


def test_bad_arguments_are_named() -> None:
    x, kernel, bias = arguments((1, 2, 4, 4), (3, 3))
    with pytest.raises(
        ValueError, match=r"padding \(3, 0, 0, 0\) must be at least 0 and less than the kernel's extent"
    ):
        depthwise_conv2d(x, kernel, bias, (3, 0, 0, 0))
    with pytest.raises(ValueError, match=r"the kernel \(3, 3\) is larger than the input \(2, 4\)"):
        depthwise_conv2d(x[..., :2, :], kernel, bias)
    with pytest.raises(ValueError, match=r"kernel of shape .2, 1, 3, 3. does not fit an input of shape .1, 1, 4, 4."):
        depthwise_conv2d(x[:, :1], kernel)
    with pytest.raises(ValueError, match=r"bias of shape .1,. does not fit"):
        depthwise_conv2d(x, kernel, bias[:1])
    with pytest.raises(ValueError, match="kernel is torch.float32 on cpu, but the input torch.float64 on cpu"):
        depthwise_conv2d(x, kernel.float())
    with pytest.raises(ValueError, match="kernel is torch.float64 on meta, but the input torch.float64 on cpu"):
        depthwise_conv2d(x, kernel.to("meta"))
    with pytest.raises(ValueError, match="unknown backend 'cudnn'; choose one of aten"), use_backend("cudnn"):
        pass
