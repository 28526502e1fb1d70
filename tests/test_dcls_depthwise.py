"""Every backend of the depthwise convolution against its definition, and the operator under what PyTorch does to it."""

import copy
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import export

import dcls
from dcls.depthwise import BACKENDS, Padding, depthwise_conv2d, native, reference, triton_rows, use_backend
from dcls.depthwise.dispatch import choose_backend
from dcls.depthwise.geometry import crop_unreachable

pytestmark = pytest.mark.usefixtures("poisoned_memory")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2}
IN_FLOAT32 = ("native", "triton")  # whatever the input is
# (B, C, H, W), (h, w), (top, bottom, left, right)
SHAPES = {
    "same": ((2, 16, 14, 14), (7, 7), (3, 3, 3, 3)),
    "batch of one, H != W": ((1, 5, 6, 11), (13, 23), (6, 6, 11, 11)),
    "kernel beyond twice the map": ((2, 5, 7, 7), (51, 51), (25, 25, 25, 25)),
    "even kernel, odd padding": ((3, 17, 8, 8), (4, 6), (1, 2, 2, 3)),
    "no padding": ((2, 3, 5, 6), (2, 3), (0, 0, 0, 0)),
    "full padding": ((1, 9, 4, 5), (3, 4), (2, 2, 3, 3)),
    "one pixel": ((2, 4, 1, 1), (5, 5), (2, 2, 2, 2)),
    "wide": ((1, 2, 3, 90), (1, 17), (0, 0, 8, 8)),
    "tall": ((1, 2, 50, 3), (23, 2), (11, 11, 0, 1)),
    "tall and odd": ((3, 2, 117, 2), (51, 1), (25, 25, 0, 0)),
    "many channels": ((1, 20, 9, 5), (9, 3), (4, 4, 1, 1)),
}


def skip_unless_it_runs_here(backend: str) -> None:
    if backend == "native" and not native.is_available():
        pytest.skip("no C++ compiler on this machine")
    if backend == "triton" and not triton_rows.is_installed():
        pytest.skip("Triton is not installed")


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    skip_unless_it_runs_here(request.param)
    return request.param


def arguments(shape, size, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    tensors = torch.randn(shape), torch.randn(shape[1], 1, *size), torch.randn(shape[1])
    return tuple(t.to(dtype).requires_grad_() for t in tensors)


def output_and_gradients(convolve, tensors, seed_grad: Tensor) -> tuple[Tensor, ...]:
    out = convolve(*tensors)
    return out, *torch.autograd.grad(out, tensors, seed_grad.to(out.dtype))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


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


@pytest.mark.parametrize("name", ["aten", "matmul", "toeplitz"])
def test_first_and_second_derivatives(name) -> None:
    shape, size, padding = (2, 3, 4, 5), (3, 4), (1, 1, 1, 2)
    with use_backend(name):
        assert torch.autograd.gradcheck(lambda *t: depthwise_conv2d(*t, padding), arguments(shape, size))
        assert torch.autograd.gradgradcheck(lambda *t: depthwise_conv2d(*t, padding), arguments(shape, size))


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


def chosen(device: str, shape: tuple[int, ...], size: tuple[int, int], dtype: torch.dtype = torch.bfloat16) -> str:
    """The backend's name; the tensor of another device is only claimed to be there."""
    tensor = SimpleNamespace(device=torch.device(device), dtype=dtype, shape=shape)
    return next(name for name, module in BACKENDS.items() if module is choose_backend(tensor, size))


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


@pytest.mark.parametrize("size, padding", [((51, 51), (25,) * 4), ((8, 30), (3, 4, 14, 15)), ((5, 5), (4, 0, 0, 4))])
def test_cropping_is_exact(size, padding) -> None:
    x, kernel, bias = arguments((2, 3, 6, 7), size)
    cropped, rest = crop_unreachable(kernel, Padding(*padding), (6, 7))
    assert cropped.shape[2] <= 2 * 6 - 1 and cropped.shape[3] <= 2 * 7 - 1
    assert min(rest) >= 0
    whole = reference.depthwise_conv2d(x, kernel, bias, Padding(*padding))
    assert torch.equal(reference.depthwise_conv2d(x, cropped, bias, rest), whole)


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


def test_the_operator_obeys_pytorchs_rules(backend) -> None:
    dtype = torch.float32 if backend in IN_FLOAT32 else torch.float64
    x, kernel, bias = arguments((2, 3, 6, 5), (3, 4), dtype)
    grad = torch.randn(2, 3, 6, 5, dtype=dtype, requires_grad=True)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
    padding = [1, 1, 1, 2]
    with use_backend(backend):
        for operator, arguments_of in (
            (torch.ops.dcls.depthwise_conv2d.default, (x, kernel, bias, padding)),
            (torch.ops.dcls.depthwise_conv2d_bwd_weight.default, (grad, x, [3, 4], padding)),
        ):
            torch.library.opcheck(operator, arguments_of, test_utils=checks)


class TwoUses(nn.Module):
    """One layer used twice in one graph, so that its gradients add up."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = dcls.Dcls2d(8, 8, 4, (9, 7), padding="same", groups=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x).relu())


def test_compiled_is_eager() -> None:
    torch.manual_seed(0)
    eager = TwoUses()
    compiled = copy.deepcopy(eager)
    compiled.compile(fullgraph=True)
    x = torch.randn(2, 8, 6, 6)
    for model in (eager, compiled):
        model(x).square().mean().backward()
    torch.testing.assert_close(compiled(x), eager(x))
    for a, b in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_exported_is_eager() -> None:
    model = TwoUses()
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(export(model, (x,)).module()(x), model(x))


def test_autocast_lowers_the_precision() -> None:
    layer = dcls.Dcls2d(8, 8, 4, 9, padding="same", groups=8)
    x = torch.randn(2, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert layer.positions.grad.dtype == torch.float32
    assert relative_error(out, layer(x).double()) < 1e-2


@pytest.mark.parametrize(
    "arguments",
    [
        dict(groups=4),
        dict(stride=2),
        dict(dilation=2),
        dict(padding=9),
        dict(padding_mode="reflect", padding=2),
        dict(padding_mode="circular", padding="same"),
        dict(padding="same"),
        dict(padding="valid"),
        dict(padding=(1, 4)),
        dict(bias=False),
    ],
    ids=str,
)
def test_a_layer_is_the_convolution_with_its_kernel(arguments) -> None:
    torch.manual_seed(0)
    options = {"groups": 8} | arguments
    layer = dcls.Dcls2d(8, 8, 3, (5, 6), **options)
    plain = nn.Conv2d(8, 8, (5, 6), **options)
    with torch.no_grad():
        plain.weight.copy_(layer.kernel())
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    for x in (torch.randn(2, 8, 14, 15), torch.randn(8, 14, 15)):
        torch.testing.assert_close(layer(x), plain(x))


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
