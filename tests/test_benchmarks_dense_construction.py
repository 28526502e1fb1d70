"""What the memory of the dense construction is measured by."""

import os

from benchmarks.construction import peak_bytes
from benchmarks.dense_construction import CHANNELS, COUNT, RETURN_FREED, builder, resident_growth


def test_a_rotated_gaussian_keeps_to_the_bound_in_the_documents() -> None:
    kernel = 4 * CHANNELS * 23 * 23
    allocated = peak_bytes(builder("rotated_gaussian", 23))
    assert 2 * kernel < allocated < 12 * 2**20 < COUNT * kernel, "the footprints of all elements are never held at once"


def test_a_fresh_process_grows_by_kernel_and_gradient_at_least() -> None:
    growth = resident_growth("gaussian", 17, RETURN_FREED)
    assert 2 * 4 * CHANNELS * 17 * 17 < growth < 2**30
    assert not RETURN_FREED.keys() & os.environ.keys()
