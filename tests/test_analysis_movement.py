import shutil
from dataclasses import replace

import numpy as np
import pytest
from report_runs import DENSE, report_run

from analysis.movement import mean_distances, mean_spreads, movement_exhibits
from analysis.run_data import read_runs
from analysis.run_groups import group_runs


def test_distances_are_from_the_first_epoch_and_spreads_as_they_are() -> None:
    start, end = np.zeros((2, 4, 1, 3)), np.stack([np.full((4, 1, 3), 3.0), np.full((4, 1, 3), 4.0)])
    history = [(2, {"a": (start, None)}), (5, {"a": (end, end), "new": (end, None)})]
    assert mean_distances(history) == {"a": {2: 0.0, 5: 5.0}}
    assert mean_spreads(history) == {"a": {5: 3.5}}


def test_each_set_of_positions_is_a_line(tmp_path) -> None:
    runs = read_runs([report_run(tmp_path, "some"), report_run(tmp_path, "dense", model=DENSE)])
    moved, spreads = movement_exhibits(group_runs(runs))
    assert [trace.name for trace in moved.figure.data] == [f"stages.{stage}" for stage in range(4)]
    assert list(moved.figure.data[0].y) == pytest.approx([0, 0.5, 1.0, 1.5], abs=0.01)
    assert list(spreads.figure.data[0].y) == pytest.approx([0.5] * 4, abs=0.01)
    assert "stages.0 1.50" in moved.summary and moved.table.columns[0] == "epochs completed"


def test_a_history_of_one_epoch_is_drawn_as_points(tmp_path) -> None:
    folder = report_run(tmp_path, "some")
    for file in sorted((folder / "positions").glob("*.npz"))[1:]:
        file.unlink()
    _, spreads = movement_exhibits(group_runs(read_runs([folder])))
    assert {trace.mode for trace in spreads.figure.data} == {"markers"}


def test_distances_from_a_later_epoch_than_the_beginning_say_so(tmp_path) -> None:
    folders = [report_run(tmp_path, name, overrides=[f"schedule.epochs={3 + at}"]) for at, name in enumerate("ab")]
    for damaged in ("epoch_0000.npz", "epoch_0001.npz"):
        (folders[1] / "positions" / damaged).write_bytes(b"no positions")
    moved, spreads = movement_exhibits(group_runs(read_runs(folders)))
    assert [trace.name for trace in moved.figure.data if trace.showlegend] == ["a", "b"], "a line of the legend each"
    colors, *origins = moved.notes
    assert colors.startswith("Colors tell layers") and spreads.notes == [colors]
    assert origins == [
        "Distances are measured from the positions before training.",
        "Those of b are measured from the positions after 2 epochs, the earliest that were kept.",
    ]


def test_of_many_layers_as_many_are_drawn_as_there_are_colors(tmp_path) -> None:
    (run,) = read_runs([report_run(tmp_path, "some")])
    zeros = np.zeros((2, 4, 1, 3))
    start = {f"layers.{layer}": (zeros, None) for layer in range(18)}
    end = {f"layers.{layer}": (zeros + layer, None) for layer in range(18)}
    (moved,) = movement_exhibits(group_runs([replace(run, positions=[(0, start), (3, end)])]))
    assert [trace.name for trace in moved.figure.data] == [f"layers.{layer}" for layer in (0, 1, 2, 3, 14, 15, 16, 17)]
    assert len({trace.line.color for trace in moved.figure.data}) == 8
    assert "Of more than 8, the 4 that end lowest and the 4 that end highest are drawn." in moved.notes
    assert len(moved.table.columns) == 19


def test_a_color_is_one_layer_in_all_runs_that_draw_it(tmp_path) -> None:
    (run,) = read_runs([report_run(tmp_path, "some")])
    zeros = np.zeros((2, 4, 1, 3))
    runs = []
    for name, order in (("p", range(10)), ("q", reversed(range(10)))):
        end = {f"layers.{layer}": (zeros + place, None) for place, layer in enumerate(order)}
        positions = [(0, dict.fromkeys(end, (zeros, None))), (3, end)]
        runs.append(replace(run, folder=tmp_path / name, name=name, positions=positions, config={}))
    (moved,) = movement_exhibits(group_runs(runs))
    colors = {}
    for trace in moved.figure.data:
        layer = trace.hovertemplate.split(": ")[1]
        colors.setdefault(layer, set()).add(trace.line.color)
    assert len(colors) == 8 and all(len(its) == 1 for its in colors.values())
    assert len(set.union(*colors.values())) == 8


def test_the_first_run_of_a_group_that_has_kept_its_positions_is_drawn(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(2)]
    shutil.rmtree(folders[0] / "positions")
    moved, _ = movement_exhibits(group_runs(read_runs(folders)))
    assert moved.notes == ["Distances are measured from the positions before training."]


def test_without_a_history_there_is_nothing_to_draw(tmp_path) -> None:
    assert movement_exhibits(group_runs(read_runs([report_run(tmp_path, "dense", model=DENSE)]))) == []
