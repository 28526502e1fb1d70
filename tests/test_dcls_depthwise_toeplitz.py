import torch

from dcls.depthwise import reference, toeplitz
from dcls.depthwise.geometry import Padding


def test_the_matrix_of_a_channel_holds_the_convolution_of_every_unit_image() -> None:
    units = torch.eye(6, dtype=torch.float64).view(6, 1, 2, 3)
    kernel = torch.arange(1.0, 13.0, dtype=torch.float64).view(1, 1, 3, 4)
    padding = Padding(1, 1, 2, 1)
    expected = reference.depthwise_conv2d(units, kernel, None, padding)
    assert torch.equal(toeplitz.depthwise_fwd(units, kernel, None, padding), expected)


def test_the_weight_gradient_of_half_precision_is_summed_in_single() -> None:
    ones = torch.ones(1, 1, 64, 64, dtype=torch.bfloat16)
    gradient = toeplitz.depthwise_bwd_weight(ones, ones, (3, 3), Padding(1, 1, 1, 1))
    assert gradient.dtype == torch.bfloat16
    # Sums of 63 * 63 and more ones: counted in bfloat16 they would end at 256.
    assert torch.equal(
        gradient[0, 0].float(),
        torch.tensor([[3969, 4032, 3969], [4032, 4096, 4032], [3969, 4032, 3969]]).bfloat16().float(),
    )
