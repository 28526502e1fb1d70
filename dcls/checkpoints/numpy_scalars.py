"""Single numbers of NumPy in a checkpoint, such as a best accuracy, read as Python's; NumPy's code is not called."""

import struct
from typing import Any

_LETTERS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
_LETTERS |= {"f2": "e", "f4": "f", "f8": "d"}


class NumberType:
    """Stands for ``numpy.dtype`` while a file is opened; knows single numbers only.

    Args:
        name: As NumPy pickles it, such as "f8".

    Raises:
        ValueError: it is the type of anything but a number.
    """

    def __init__(self, name: str, *_: object) -> None:
        if name not in _LETTERS:
            raise ValueError(f"a NumPy value of type {name!r:.20}")
        self.format = "<" + _LETTERS[name]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] == ">":
            self.format = ">" + self.format[1:]


def read_number(kind: NumberType, data: bytes) -> float | int | bool:
    """Stand for ``numpy.core.multiarray.scalar``.

    Raises:
        struct.error: the bytes are too many or too few.
    """
    number: float | int | bool = struct.unpack(kind.format, data)[0]
    return number


SAFE_GLOBALS = [
    (NumberType, "numpy.dtype"),
    (read_number, "numpy.core.multiarray.scalar"),  # before NumPy 2
    (read_number, "numpy._core.multiarray.scalar"),
]
"""For ``torch.serialization.safe_globals``."""
