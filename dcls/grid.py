"""Where the grid points of a dense kernel are."""


def axis_bounds(size: int) -> tuple[int, int]:
    """First and last grid point of an axis, in pixels from its center (index ``size // 2``)."""
    return -(size // 2), (size - 1) // 2
