import torch

from dcls.depthwise import aten, matmul
from dcls.depthwise.geometry import Padding


def test_the_output_is_in_channels_last_whatever_the_input_is() -> None:
    x, kernel = torch.randn(2, 8, 6, 7), torch.randn(8, 1, 3, 3)
    out = matmul.depthwise_fwd(x, kernel, None, Padding(1, 1, 1, 1))
    assert out.is_contiguous(memory_format=torch.channels_last) and not out.is_contiguous()


def test_kernel_rows_that_meet_nothing_have_no_gradient() -> None:
    x, grad = torch.randn(2, 4, 2, 3, dtype=torch.float64), torch.randn(2, 4, 2, 3, dtype=torch.float64)
    padding = Padding(4, 4, 1, 1)
    actual = matmul.depthwise_bwd_weight(grad, x, (9, 3), padding)
    assert actual[:, :, :3].count_nonzero() == actual[:, :, 6:].count_nonzero() == 0
    torch.testing.assert_close(actual, aten.depthwise_bwd_weight(grad, x, (9, 3), padding))
