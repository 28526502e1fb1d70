import pytest
from torch import nn

from dcls.padding import padding_amounts


@pytest.mark.parametrize("padding", ["same", "valid", 0, 2, (1, 3)])
@pytest.mark.parametrize("kernel_size", [(3, 3), (4, 7), (1, 6)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
def test_amounts_are_those_of_nn_conv2d(padding, kernel_size, dilation) -> None:
    conv = nn.Conv2d(1, 1, kernel_size, padding=padding, dilation=dilation)
    (top, bottom), (left, right) = padding_amounts(conv.padding, kernel_size, dilation)
    assert [left, right, top, bottom] == list(conv._reversed_padding_repeated_twice)
