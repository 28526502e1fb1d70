from PIL import Image
from test_reproduction_study_table import results  # noqa: F401

from reproduction.study_plot import plot_studies
from reproduction.study_runs import read_runs


def test_studies_with_runs_have_a_picture(tmp_path, results) -> None:  # noqa: F811
    (file,) = plot_studies(read_runs(results), tmp_path)
    assert file.name == "reach.png" and Image.open(file).size[0] > 500
    assert plot_studies({}, tmp_path) == []
