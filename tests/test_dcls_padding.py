import pytest
from torch import nn

from dcls.padding import is_of_torch, last_axis_first, padding_amounts


@pytest.mark.parametrize("padding", ["same", "valid", 0, 2, (1, 3)])
@pytest.mark.parametrize("kernel_size", [(3, 3), (4, 7), (1, 6)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
def test_amounts_are_those_of_nn_conv2d(padding, kernel_size, dilation) -> None:
    conv = nn.Conv2d(1, 1, kernel_size, padding=padding, dilation=dilation)
    (top, bottom), (left, right) = padding_amounts(conv.padding, kernel_size, dilation)
    assert [left, right, top, bottom] == list(conv._reversed_padding_repeated_twice)


def test_each_axis_may_have_its_own() -> None:
    padding = ("causal", "same", "valid", 3, (1, 2))
    amounts = padding_amounts(padding, (5, 4, 3, 3, 3), (2, 1, 1, 1, 1))
    assert amounts == [(8, 0), (1, 2), (0, 0), (3, 3), (1, 2)]
    assert last_axis_first(amounts[:2]) == [1, 2, 8, 0]


def test_what_pytorch_takes() -> None:
    assert all(map(is_of_torch, ["same", "valid", (1, 2)]))
    assert not any(map(is_of_torch, ["causal", (1, "same"), ((0, 2), 1)]))
