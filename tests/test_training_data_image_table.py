"""The list of images in arrays."""

import os
import pickle

import numpy as np
import pytest

from training.data.image_table import ImageTable, joined

FOLDERS = [
    ("cat", ["1.png", "früh 貓.png", b"\xff.png".decode("utf-8", "surrogateescape")]),
    ("", ["a\nb.png"]),
    ("dog/images", ["0.png"]),
]
PATHS = [os.path.join("/data", folder, name) for folder, names in FOLDERS for name in names]


@pytest.fixture
def table() -> ImageTable:
    return ImageTable("/data", joined(FOLDERS), np.array([0, 0, 1, 2, 1], np.int32))


def test_it_is_a_list_of_paths_and_labels(table) -> None:
    expected = list(zip(PATHS, [0, 0, 1, 2, 1], strict=True))
    assert list(table) == expected and len(table) == 5
    assert (table[-1], table[1:4], table[::-2]) == (expected[-1], expected[1:4], expected[::-2])
    assert all(type(label) is int for _, label in table) and table.path(3) == "a\nb.png"
    for index in (5, -6):
        with pytest.raises(IndexError):
            table[index]


def test_it_may_be_empty() -> None:
    assert list(ImageTable("/data", joined([("cat", [])]), np.zeros(0, np.int32))) == []


def test_labels_may_be_rows(table) -> None:
    rows = [[0, 1, -1], [2, 3, 4], [5, 6, 7], [8, 9, 10], [1, 1, 1]]
    assert list(table.with_labels(np.array(rows))) == list(zip(PATHS, rows, strict=True))


def test_it_goes_to_other_processes(table) -> None:
    assert list(pickle.loads(pickle.dumps(table))) == list(table)
