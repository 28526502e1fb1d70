"""The order of names by the values of the numbers in them, as timm has it, for millions of names."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_NUMBERS = re.compile(r"(\d+)")
_NUMBER = 0x01  # stands before a number's length: less than any character of a name
_LENGTH = 0x20  # is added to it, to keep clear of the line ends between the names
_LONGEST = 0xFF - _LENGTH


def by_number_and_name(name: str) -> tuple[Any, str]:
    """Sort as timm, numbers by their values, and names that are equal then, such as 1 and 01, always in one order."""
    parts: list[Any] = _NUMBERS.split(name.lower())
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def sorted_by_number_and_name(names: Sequence[str]) -> list[str]:
    """Return ``sorted(names, key=by_number_and_name)`` in a fraction of the time, if names are of ASCII characters."""
    text = "".join(names)
    if text and text.isascii() and text.isprintable():
        keys = _sortable(np.frombuffer("\n".join(names).lower().encode(), np.uint8))
        if keys is not None:
            return [name for _, name in sorted(zip(keys.split("\n"), names, strict=True))]
    return sorted(names, key=by_number_and_name)


def _sortable(text: np.ndarray) -> str | None:
    """Replace every number by a mark, the number of its digits without leading zeros, and these digits.

    Texts that are compared by character are then compared by the values of their numbers.

    Args:
        text: Printable characters, and line ends.

    Returns:
        The new text, or None where a number has too many digits.
    """
    is_digit = np.zeros(len(text) + 2, bool)
    is_digit[1:-1] = (text >= ord("0")) & (text <= ord("9"))
    edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])
    starts, ends = edges[::2], edges[1::2]
    others = np.append(np.flatnonzero(is_digit[1:-1] & (text != ord("0"))), len(text))
    firsts = np.minimum(others[np.searchsorted(others, starts)], ends)  # where leading zeros end
    lengths = ends - firsts
    if lengths.max(initial=0) > _LONGEST:
        return None
    change = np.zeros(len(text) + 1, np.int8)
    change[starts] += 1
    change[firsts] -= 1
    kept = np.cumsum(change[:-1], dtype=np.int8) == 0
    places = np.concatenate([[0], np.cumsum(kept)])[starts]
    marks = np.stack([np.full_like(lengths, _NUMBER), lengths + _LENGTH], axis=1).astype(np.uint8)
    return np.insert(text[kept], np.repeat(places, 2), marks.ravel()).tobytes().decode("latin-1")
