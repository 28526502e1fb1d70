import pytest

from dcls.grid import axis_bounds


@pytest.mark.parametrize("size, bounds", [(1, (0, 0)), (2, (-1, 0)), (7, (-3, 3)), (8, (-4, 3))])
def test_the_center_is_half_the_size_rounded_down(size, bounds) -> None:
    assert axis_bounds(size) == bounds
