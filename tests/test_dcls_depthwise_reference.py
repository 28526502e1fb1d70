import torch

from dcls.depthwise.geometry import Padding
from dcls.depthwise.reference import depthwise_conv2d


def test_a_hand_computed_case() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(1, 1, 2, 3)
    kernel = torch.tensor([[1.0, 10.0]]).view(1, 1, 1, 2)
    out = depthwise_conv2d(image, kernel, torch.tensor([0.5]), Padding(0, 0, 1, 0))
    assert out.tolist() == [[[[10.5, 21.5, 32.5], [40.5, 54.5, 65.5]]]]


def test_every_channel_has_its_own_kernel() -> None:
    kernel = torch.tensor([1.0, 2.0, -3.0]).view(3, 1, 1, 1)
    out = depthwise_conv2d(torch.ones(2, 3, 4, 5), kernel, None, Padding(0, 0, 0, 0))
    assert torch.equal(out, kernel.view(1, 3, 1, 1).expand(2, 3, 4, 5))
