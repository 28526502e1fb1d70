import numpy as np
import pytest

from reproduction.movement import movement_by_epoch


def write(run, epoch: int, **positions) -> None:
    folder = run / "positions"
    folder.mkdir(exist_ok=True)
    arrays = {f"{name}.positions": np.asarray(values, np.float16) for name, values in positions.items()}
    np.savez_compressed(folder / f"epoch_{epoch:04d}.npz", **arrays)


def elements(*places: tuple[float, float]) -> np.ndarray:
    return np.array(places).T[:, None, None, :]  # (2, 1, 1, N)


def test_elements_of_all_layers_are_measured_together(tmp_path) -> None:
    write(tmp_path, 0, a=elements((0, 0), (1, 1)), b=elements((-3, 4)))
    write(tmp_path, 1, a=elements((0.5, 0), (1, 1)), b=elements((-6, 8)))
    (found,) = movement_by_epoch(tmp_path).values()
    assert found == pytest.approx(
        {"moved_median": 0.5, "moved_most": 5.0, "moved_over_1": 1 / 3, "at_rest": 1 / 3, "farthest": 10.0}
    )


def test_nothing_is_measured_without_positions_or_without_their_beginning(tmp_path) -> None:
    assert movement_by_epoch(tmp_path) == {}
    write(tmp_path, 3, a=elements((0, 0)))
    write(tmp_path, 4, a=elements((1, 0)))
    assert movement_by_epoch(tmp_path) == {}
