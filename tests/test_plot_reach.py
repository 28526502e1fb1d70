import numpy as np
import plot_reach
import pytest
from safetensors.numpy import save_file

from dcls.errors import UserError


def finished_run(folder) -> None:
    """Leave one kernel of two elements that move from 1 to 9 cells apart, and a third without weight."""
    (folder / "positions").mkdir(parents=True)
    save_file({"stages.3.blocks.0.conv_dw.weight": np.array([[[1.0, -2.0, 0.0]]])}, folder / "model.safetensors")
    for epoch, columns in enumerate(([0.0, 1.0, 5.0], [-4.0, 5.0, 5.0])):
        positions = np.stack([np.zeros(3), columns]).reshape(2, 1, 1, 3)
        np.savez(folder / "positions" / f"epoch_{epoch:04d}.npz", **{"conv_dw.positions": positions})


def test_pairs_count_by_the_product_of_their_weights(tmp_path) -> None:
    finished_run(tmp_path / "run")
    found = plot_reach.read_pairs(tmp_path / "run")
    assert found["mass"].tolist() == [2.0, 0.0, 0.0]
    assert (found["before"][0], found["after"][0]) == (1.0, 9.0)


def test_a_picture_of_the_runs_that_are_finished(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no finished run of the study"):
        plot_reach.plot(tmp_path, tmp_path / "picture.png")
    finished_run(tmp_path / "studies" / "reach_uniform-seed0")
    assert plot_reach.plot(tmp_path, tmp_path / "picture.png").stat().st_size > 1000
