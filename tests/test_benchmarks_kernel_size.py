"""The training step over the kernel's size: what is measured of which side, and the picture."""

from PIL import Image

from benchmarks import kernel_size
from benchmarks.kernel_size import DENSE, OURS, REFERENCE, SIDES, draw, measure


def test_every_side_is_measured_at_its_sizes_as_a_median(monkeypatch) -> None:
    rounds_of = {}

    def seconds_in_processes(makers, rounds):
        side = next(iter(makers.values())).args[1]
        rounds_of[side] = rounds
        return {size: [3.0, 1.0, 2.0][:rounds] for size in makers}

    monkeypatch.setattr(kernel_size, "seconds_in_processes", seconds_in_processes)
    medians = measure(rounds=3)
    assert {side: tuple(points) for side, points in medians.items()} == SIDES
    assert set(medians[OURS].values()) == {2.0}
    assert rounds_of == {OURS: 3, DENSE: 1, REFERENCE: 1}, "the slow sides are timed once"


def test_the_picture_is_written(tmp_path) -> None:
    draw({side: dict.fromkeys(sizes, 2.5) for side, sizes in SIDES.items()}, tmp_path / "sizes.png")
    assert Image.open(tmp_path / "sizes.png").size[0] > 500
