import numpy as np
import plot_reach
import pytest
from PIL import Image
from safetensors.numpy import save_file

from dcls.errors import UserError
from reproduction.row import REPOSITORY
from reproduction.studies import all_studies
from reproduction.study_runs import read_runs


def finished_run(folder) -> None:
    """Leave one kernel of two elements that move from 1 to 9 cells apart, and a third without weight."""
    (folder / "positions").mkdir(parents=True)
    save_file({"stages.3.blocks.0.conv_dw.weight": np.array([[[1.0, -2.0, 0.0]]])}, folder / "model.safetensors")
    (folder / "metrics.csv").write_text("epoch,val_top1\n0,25.0\n")
    for epoch, columns in enumerate(([0.0, 1.0, 5.0], [-4.0, 5.0, 5.0])):
        positions = np.stack([np.zeros(3), columns]).reshape(2, 1, 1, 3)
        np.savez(folder / "positions" / f"epoch_{epoch:04d}.npz", **{"conv_dw.positions": positions})


def test_pairs_count_by_the_product_of_their_weights(tmp_path) -> None:
    finished_run(tmp_path / "run")
    found = plot_reach.read_pairs(tmp_path / "run")
    assert found["mass"].tolist() == [2.0, 0.0, 0.0]
    assert (found["before"][0], found["after"][0]) == (1.0, 9.0)


def test_a_panel_for_each_row_that_is_finished(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no finished run of the study"):
        plot_reach.read_panels(tmp_path)
    for run in ("reach_uniform-seed0", "reach_uniform-seed1", "reach_normal-seed0"):
        finished_run(tmp_path / "studies" / run)
    panels = plot_reach.plot(plot_reach.read_panels(tmp_path)).axes
    assert [axes.get_title("left") for axes in panels] == [
        "Gaussian, uniform start, 2 seeds",
        "Gaussian, normal start, one seed",
    ]
    after = panels[0].patches[1].get_xy()  # the outline of a histogram
    assert after[after[:, 1].argmax(), 0] == pytest.approx(9, abs=0.25), "all mass is of the pair that moved to 9 cells"


def test_a_run_with_another_number_of_blocks_is_named(tmp_path) -> None:
    finished_run(tmp_path / "run")
    weight = np.ones((1, 1, 3))
    tensors = {f"stages.3.blocks.{block}.conv_dw.weight": weight for block in (0, 1)}
    save_file(tensors, tmp_path / "run" / "model.safetensors")
    with pytest.raises(UserError, match="run has 2 blocks, and the row has one"):
        plot_reach.read_pairs(tmp_path / "run")


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_without_its_first_or_last_positions_is_named(tmp_path, epoch) -> None:
    finished_run(tmp_path / "run")
    (tmp_path / "run" / "positions" / f"epoch_{epoch:04d}.npz").unlink()
    with pytest.raises(UserError, match="run has not kept its positions from before and after training"):
        plot_reach.read_pairs(tmp_path / "run")


def test_the_picture_of_the_page_shows_every_row_of_its_table() -> None:
    study = all_studies()["reach"]
    rows = [study.facts.variants[name] for name in study.measured("reach", read_runs())]
    shown = Image.open(REPOSITORY / "docs/images/studies/reach_positions.png").info["Description"]
    assert shown.split("; ") == [f"{row.title}, 6 seeds" for row in rows if "model.dcls" in row.set]
