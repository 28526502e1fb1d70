import pytest
from test_reproduction_study_table import DENSE, UNIFORM, results  # noqa: F401

from reproduction.study_plot import study_plots
from reproduction.study_runs import read_runs


@pytest.fixture
def plot(results):  # noqa: F811
    (plot,) = study_plots(read_runs(results))
    return plot


def test_every_row_has_a_line_a_dot_for_each_seed_and_a_bar_at_its_mean(plot) -> None:
    (axes,) = plot.figure().axes
    assert axes.get_xlabel() == "top-1 in %, distance of two discs"
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["dense, 7x7 / 49", "Gaussian, uniform start, 23x23 / 9", "Gaussian, normal start, 23x23 / 9"]
    dots = [collection.get_offsets().tolist() for collection in axes.collections]
    assert dots[:2] == [[[top1, y] for top1 in row] for y, row in enumerate((DENSE, UNIFORM))]
    bars = [line.get_xdata()[0] for line in axes.lines]
    dense = sum(DENSE) / 3
    assert bars == pytest.approx([dense, dense, 98.0, 30.0]), "the dense row's goes through all lines"


def test_a_picture_knows_whether_it_shows_these_numbers(tmp_path, plot) -> None:
    assert not plot.is_current(tmp_path)
    plot.write(tmp_path)
    assert (tmp_path / "reach.png").is_file() and plot.is_current(tmp_path)
    plot.panels["distance of two discs"]["Gaussian, normal start, 23x23 / 9"].append(31.0)
    assert not plot.is_current(tmp_path)


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_a_picture_that_was_cut_off_is_written_again(tmp_path, plot, length) -> None:
    plot.write(tmp_path)
    whole = (tmp_path / "reach.png").read_bytes()
    (tmp_path / "reach.png").write_bytes(whole[:length])
    assert not plot.is_current(tmp_path)
    plot.write(tmp_path)
    assert plot.is_current(tmp_path)


def test_there_is_no_picture_without_runs() -> None:
    assert study_plots({}) == []
