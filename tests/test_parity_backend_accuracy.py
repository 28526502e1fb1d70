"""The table of errors: what it measures of a right backend, and of a wrong one."""

import pytest
import torch

from dcls.depthwise import BACKENDS, aten
from parity.backend_accuracy import SHAPES, runnable_backends, worst_error

pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.mark.parametrize("case", ["batch of one, H != W", "non-contiguous"])
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_is_close_to_float64(backend, dtype, bound, case) -> None:
    if backend not in runnable_backends("cpu"):
        pytest.skip(f"{backend} does not run on this machine")
    assert 0 < worst_error(backend, dtype, case, "cpu") < bound


def test_one_wrong_gradient_is_found(monkeypatch) -> None:
    right = aten.depthwise_bwd_weight
    monkeypatch.setattr(aten, "depthwise_bwd_weight", lambda *arguments: 1.01 * right(*arguments))
    assert worst_error("aten", torch.float32, next(iter(SHAPES)), "cpu") == pytest.approx(0.01, rel=1e-3)
