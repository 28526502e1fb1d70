import pytest
import torch

from dcls.grid import axis_bounds, overshoot


@pytest.mark.parametrize("size, bounds", [(1, (0, 0)), (2, (-1, 0)), (7, (-3, 3)), (8, (-4, 3))])
def test_the_center_is_half_the_size_rounded_down(size, bounds) -> None:
    assert axis_bounds(size) == bounds


def test_how_far_elements_are_out_of_reach() -> None:
    position = torch.tensor([-9.0, -5.0, 0.0, 4.5, 7.0], requires_grad=True)
    beyond = overshoot(position, 7, torch.tensor(1.5))
    assert beyond.tolist() == [-4.5, -0.5, 0.0, 0.0, 2.5] and not beyond.requires_grad
