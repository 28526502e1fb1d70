import math

import pytest
from report_runs import DENSE, report_run

from analysis.facts import difference_table, machine_table, outcome_table
from analysis.run_data import RunData, read_runs


def test_outcomes_have_accuracy_size_and_time(tmp_path) -> None:
    table = outcome_table([*read_runs([report_run(tmp_path, "some")]), RunData(tmp_path, "nothing")])
    line = dict(zip(table.columns, table.lines[0], strict=True))
    assert (line["top-1, last epoch (%)"], line["top-1, best epoch (%)"], line["epochs"]) == (70.0, 70.0, 3)
    assert (line["parameters"], line["images/s, median"], line["waiting (%)"]) == (123_456, 100.0, 25.0)
    assert line["training time"].split() == ["0", "min", "1", "s"], "9 updates of 12 images, 100 images a second"
    assert table.texts()[1][:3] == ["nothing", "–", "–"]


def test_an_epoch_without_a_finite_accuracy_is_not_the_best(tmp_path) -> None:
    history = [{"epoch": at, "val_top1": top1} for at, top1 in enumerate((math.nan, 10.0, 9.0))]
    table = outcome_table([RunData(tmp_path, "a", history), RunData(tmp_path, "b", history[:1])])
    lines = [dict(zip(table.columns, line, strict=True)) for line in table.texts()]
    assert [line["top-1, best epoch (%)"] for line in lines] == ["10", "–"]
    assert [line["top-1, last epoch (%)"] for line in lines] == ["9", "–"]


@pytest.mark.parametrize("column", ["train_images_per_second", "updates"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_time_that_cannot_be_computed_is_left_out(tmp_path, column, value) -> None:
    (run,) = read_runs([report_run(tmp_path, "some")])
    run.history[-1][column] = value
    assert outcome_table([run]).texts()[0][-1] in ("–", "0\u00a0min\u00a01\u00a0s")


def test_machines_have_versions_and_hardware(tmp_path) -> None:
    runs = read_runs([report_run(tmp_path, "some")])
    (line,) = machine_table(runs).texts()
    assert line[:6] == ["some", "2026-01-01T00:00:00+00:00", "c0ffeec0ff", "3.12", "2.14", "–"]
    assert "2 cores of some processor" in line
    runs[0].environment.update(gpu="some GPU", packages=None, model=None)
    assert "some GPU, 2 cores of some processor" in machine_table(runs).texts()[0] and outcome_table(runs).texts()


def test_only_keys_that_differ_are_listed(tmp_path) -> None:
    runs = read_runs([report_run(tmp_path, "a"), report_run(tmp_path, "b", model=DENSE, seed=1)])
    for run in runs:
        run.config["checkpoint"] = {"name": run.name}  # only says which run it is
    runs[0].config["model"]["dcls"] = {"kernel_count": 16}
    lines = difference_table(runs).lines
    options = [f"model.options.{key}" for key in ("dilated_kernel_size", "kernel_count")]
    assert [line[0] for line in lines] == ["model.name", *options, "model.dcls.kernel_count", "training.seed"]
    assert ["model.dcls.kernel_count", "16", None] in lines
    assert difference_table(runs[:1]).lines == []


def test_values_of_another_kind_are_shown_or_left_out(tmp_path) -> None:
    run = read_runs([report_run(tmp_path, "some")])[0]
    for odd in (None, 1, "text", [1], {"a": 1}):
        run.environment.update({key: odd for key in run.environment})
        run.config.update(model={"name": odd}, training={"seed": odd, "batch_size": odd})
        assert machine_table([run]).texts() and outcome_table([run]).texts() and difference_table([run]).lines == []
