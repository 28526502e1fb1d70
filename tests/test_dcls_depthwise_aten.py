import pytest
import torch
import torch.nn.functional as F

from dcls.depthwise import aten
from dcls.depthwise.geometry import Padding


@pytest.mark.parametrize("sides", [(1, 1, 2, 2), (0, 2, 1, 1), (2, 0, 0, 3)])
def test_sides_that_differ_are_padded_apart(sides) -> None:
    x, kernel = torch.randn(2, 3, 5, 6), torch.randn(3, 1, 3, 4)
    top, bottom, left, right = sides
    expected = F.conv2d(F.pad(x, (left, right, top, bottom)), kernel, groups=3)
    torch.testing.assert_close(aten.depthwise_fwd(x, kernel, None, Padding(*sides)), expected)


def test_a_weight_gradient_has_the_inputs_precision() -> None:
    x, grad = torch.randn(2, 64, 5, 5), torch.randn(2, 64, 5, 5)
    padding = Padding(1, 1, 1, 1)
    exact = aten.depthwise_bwd_weight(grad, x, (3, 3), padding)
    low = aten.depthwise_bwd_weight(grad.bfloat16(), x.bfloat16(), (3, 3), padding)
    assert low.dtype == torch.bfloat16 and low.shape == exact.shape == (64, 1, 3, 3)
    assert (low.float() - exact).norm() < 1e-2 * exact.norm()
