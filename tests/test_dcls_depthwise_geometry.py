import pytest
import torch
from depthwise_cases import arguments

from dcls.depthwise import Padding, reference
from dcls.depthwise.geometry import crop_unreachable

pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.mark.parametrize("size, padding", [((51, 51), (25,) * 4), ((8, 30), (3, 4, 14, 15)), ((5, 5), (4, 0, 0, 4))])
def test_cropping_is_exact(size, padding) -> None:
    x, kernel, bias = arguments((2, 3, 6, 7), size)
    cropped, rest = crop_unreachable(kernel, Padding(*padding), (6, 7))
    assert cropped.shape[2] <= 2 * 6 - 1 and cropped.shape[3] <= 2 * 7 - 1
    assert min(rest) >= 0
    whole = reference.depthwise_conv2d(x, kernel, bias, Padding(*padding))
    assert torch.equal(reference.depthwise_conv2d(x, cropped, bias, rest), whole)
