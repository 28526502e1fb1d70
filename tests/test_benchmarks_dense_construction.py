"""What the memory of the dense construction is measured by."""

import os

from benchmarks.construction import peak_bytes
from benchmarks.dense_construction import CHANNELS, COUNT, RETURN_FREED, builder, resident_growth


def test_the_footprints_of_all_elements_are_never_held_at_once() -> None:
    output = 4 * 192 * 17 * 17
    allocated = peak_bytes(builder("rotated_gaussian", 17, channels=192))
    assert 2 * output < allocated < COUNT * output


def test_a_fresh_process_grows_by_kernel_and_gradient_at_least() -> None:
    growth = resident_growth("gaussian", 17, RETURN_FREED)
    assert 2 * 4 * CHANNELS * 17 * 17 < growth < 2**30
    assert not RETURN_FREED.keys() & os.environ.keys()
