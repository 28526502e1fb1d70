import pytest
import torch
from depthwise_cases import IN_FLOAT32, arguments, skip_unless_it_runs_here

from dcls.depthwise import BACKENDS, depthwise_conv2d, use_backend

pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    skip_unless_it_runs_here(request.param)
    return request.param


@pytest.mark.parametrize("name", ["aten", "matmul", "toeplitz"])
def test_first_and_second_derivatives(name) -> None:
    shape, size, padding = (2, 3, 4, 5), (3, 4), (1, 1, 1, 2)
    with use_backend(name):
        assert torch.autograd.gradcheck(lambda *t: depthwise_conv2d(*t, padding), arguments(shape, size))
        assert torch.autograd.gradgradcheck(lambda *t: depthwise_conv2d(*t, padding), arguments(shape, size))


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
