from finished_runs import finished_run, one_table
from PIL import Image

from reproduction.plot import plot_table


def test_every_baseline_that_was_trained_has_a_panel(tmp_path) -> None:
    sizes = []
    for setting in ("fashion", "cifar10", "convformer_fashion"):
        finished_run(tmp_path, f"{setting}_dense", 0, 60.0)
        finished_run(tmp_path, f"{setting}_gaussian", 0, 61.0)
        files = plot_table(one_table(tmp_path, "studies/*"), tmp_path)
        assert [file.name for file in files] == ["studies-top1.png", "studies-curves.png"]
        sizes.append([Image.open(file).size for file in files])
    (width, height), double = sizes[0][0], (2 * sizes[0][0][0], sizes[0][0][1])
    assert sizes == [[(width, height)] * 2, [double] * 2, [(2 * width, 2 * height)] * 2], (
        "at most two beside each other"
    )
