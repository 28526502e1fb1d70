"""The table of the data pipeline: from a folder of images through archives and shards to both pipelines' rates."""

from itertools import product

import processes
from PIL import Image

from benchmarks import data
from benchmarks.data import LAYOUTS, SIZES, measure, rates, steps


def test_every_layout_and_size_is_made_and_measured(tmp_path, monkeypatch) -> None:
    for name in ("n01440764", "n01443537"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (400, 360), (60 * number, 90, 0)).save(tmp_path / "images" / name / f"{number}.JPEG")
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(data, "RECIPES", ["convnext_tiny_dcls_gaussian"])
    monkeypatch.setattr(data, "run_script", lambda name, *args: processes.run_script(f"scripts/{name}", *args).stdout)
    quick = ["--batches", "1", "--batch-size", "4", "model.name=convnext_atto", "data.image_size=32"]
    measured = measure(tmp_path / "images", tmp_path / "work", quick)
    assert [key[1:] for key in measured] == list(product(LAYOUTS, SIZES))
    smaller = Image.open(tmp_path / "work" / "folders, at most 320" / "train" / "n01440764" / "n01440764_3.JPEG")
    assert smaller.size == (356, 320)
    assert (tmp_path / "work" / "shards, as they are" / "train-00000.tar").exists()
    assert len(rates(measured).splitlines()) == len(steps(measured).splitlines()) == 2 + 4
