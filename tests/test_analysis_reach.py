import pytest
import torch
from report_runs import DENSE, report_run

from analysis.learned import look_at_models
from analysis.reach import MeasuredField, reach_exhibits
from analysis.run_data import read_runs
from analysis.run_groups import group_runs


def test_the_dense_baseline_is_drawn_beside(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(2)]
    runs = read_runs([*folders, report_run(tmp_path, "dense", model=DENSE)])
    learned = look_at_models(runs, group_runs(runs))
    fields = learned.fields
    assert [field.name for field in fields] == ["dcls-seed0", "dense"] and not learned.problems
    assert all(field.field.shape == (320, 320) and "5x5 mirror images" in field.images for field in fields)
    shares, *maps = reach_exhibits(fields)
    assert [trace.name for trace in shares.figure.data] == ["dcls-seed0", "dense"] and len(maps) == 2
    assert shares.figure.data[0].y[-1] == pytest.approx(100)
    assert len(maps[0].figure.data[0].z) == 64, "a drawing is small"


def test_sides_are_told_in_words_and_numbers() -> None:
    field = torch.zeros(8, 8)
    field[3:5, 3:5], field[0, 0] = 0.2, 0.2
    shares, _ = reach_exhibits([MeasuredField("x", 0, field, "noise")])
    assert "half of it: x 2 pixels" in shares.summary and "x: noise." in shares.notes
    assert shares.table.lines == [["x", 2, 2, 2, 8, 8, "8x8"]]
