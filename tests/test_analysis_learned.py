import json
import math
import shutil

import pytest
import torch
from report_runs import DENSE, report_run
from torch import nn

from analysis.colors import color
from analysis.learned import look_at_models
from analysis.reach import reach_exhibits
from analysis.run_data import RunData, read_runs
from analysis.run_groups import group_runs
from dcls import position_owners


def test_kernels_are_of_all_runs_and_the_rest_of_the_first_of_each_group(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(2)]
    runs = read_runs([*folders, report_run(tmp_path, "dense", model=DENSE)])
    learned = look_at_models(runs, group_runs(runs))
    assert [kernels["run"] for kernels in learned.kernels] == ["dcls-seed0", "dcls-seed1"]
    assert [(of.name, of.group, bool(of.layers)) for of in learned.described] == [
        ("dcls-seed0", 0, True),
        ("dense", 1, False),
    ]
    assert [field.name for field in learned.fields] == ["dcls-seed0", "dense"] and not learned.problems


def test_every_model_is_looked_at_once(tmp_path, monkeypatch) -> None:
    loaded, load = [], RunData.load_model
    monkeypatch.setattr(RunData, "load_model", lambda run: loaded.append(run.name) or load(run))
    runs = [*read_runs([report_run(tmp_path, "some")]), RunData(tmp_path, "without weights")]
    look_at_models(runs, group_runs(runs))
    assert loaded == ["some"]


def test_a_group_whose_first_run_lost_its_weights_shows_the_next(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(2)]
    for file in folders[0].rglob("*"):
        if file.suffix in (".safetensors", ".pt"):
            file.unlink()
    runs = read_runs(folders)
    learned = look_at_models(runs, group_runs(runs))
    assert [of.name for of in learned.described] == [field.name for field in learned.fields] == ["dcls-seed1"]


def test_a_group_has_one_color_also_beside_one_without_weights(tmp_path) -> None:
    runs = [RunData(tmp_path, "without weights"), *read_runs([report_run(tmp_path, "some")])]
    learned = look_at_models(runs, group_runs(runs))
    assert [(of.name, of.group) for of in learned.described] == [("some", 1)]
    (shares, *_) = reach_exhibits(learned.fields)
    assert shares.figure.data[0].line.color == color(1)


def test_missing_positions_are_a_sentence(tmp_path) -> None:
    folders = [report_run(tmp_path, "some"), report_run(tmp_path, "dense", model=DENSE)]
    shutil.rmtree(folders[0] / "positions")
    runs = read_runs(folders)
    learned = look_at_models(runs, group_runs(runs))
    assert learned.problems == [
        "How the elements of some moved is not shown: there are no positions of earlier epochs."
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_a_sentence(tmp_path, monkeypatch, value) -> None:
    (run,) = read_runs([report_run(tmp_path, "some")])
    model = run.load_model()
    with torch.no_grad():
        next(iter(position_owners(model).values())).positions[0, 0, 0, 0] = value
    monkeypatch.setattr(RunData, "load_model", lambda run: model)
    learned = look_at_models([run], group_runs([run]))
    assert learned.problems[0].startswith("some has weights, positions or spreads that are not finite.")
    kernels = learned.kernels[0]["layers"][0]["kernels"]
    assert [kernel["channel"] for kernel in kernels if None in kernel["positions"][-1][0]] == [0]
    json.dumps(learned.kernels, allow_nan=False)  # raises where a number is none


def test_a_model_without_features_is_a_sentence(tmp_path, monkeypatch) -> None:
    (run,) = read_runs([report_run(tmp_path, "some")])
    monkeypatch.setattr(RunData, "load_model", lambda run: nn.Conv2d(3, 3, 3) if run.weights else None)
    learned = look_at_models([run], group_runs([run]))
    assert learned.fields == [] and len(learned.problems) == 1 and "some was not measured" in learned.problems[0]
    nothing = look_at_models([RunData(tmp_path, "x")], group_runs([RunData(tmp_path, "x")]))
    assert reach_exhibits([]) == [] and (nothing.fields, nothing.problems) == ([], [])
