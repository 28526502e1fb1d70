import pytest
from report_runs import DENSE, drawn, report_run

import dcls
from analysis.colors import color
from analysis.mass import mass_exhibits
from analysis.run_data import read_runs
from dcls.diagnostics import describe_model


def test_bars_and_tables_are_the_diagnostics_of_every_layer(tmp_path) -> None:
    runs = read_runs([report_run(tmp_path, "some"), report_run(tmp_path, "dense", model=DENSE)])
    radius, outside, elements = mass_exhibits([(run.name, describe_model(run.load_model())) for run in runs])
    described = list(describe_model(runs[0].load_model()).values())
    assert list(drawn(radius.figure, "some")) == pytest.approx([layer.effective_radius for layer in described])
    assert list(drawn(outside.figure, "some")) == pytest.approx([100 * layer.mass_outside for layer in described])
    assert len(elements.table.lines) == 5 and elements.table.lines[0][0] == "stages.0.blocks.0"
    assert elements.table.lines[0][5] == pytest.approx(100 * described[0].coinciding)


def test_layers_have_one_name_in_all_runs(tmp_path) -> None:
    runs = read_runs(
        [report_run(tmp_path, name, overrides=[f"schedule.epochs={3 + at}"]) for at, name in enumerate("ab")]
    )
    models = [run.load_model() for run in runs]
    models[1].head.add_module("extra", dcls.Dcls2d(2, 2, 3, 9))
    radius, *_ = mass_exhibits([(name, describe_model(model)) for name, model in zip("ab", models, strict=True)])
    first, second = (list(trace.x) for trace in radius.figure.data)
    assert second[:5] == first and second[5] == "head.extra"


def test_bars_have_the_color_of_their_group_also_beside_dense_runs(tmp_path) -> None:
    described = describe_model(read_runs([report_run(tmp_path, "some")])[0].load_model())
    radius, outside, _ = mass_exhibits([("dense", {}), ("without weights", {}), ("some", described)])
    assert radius.figure.data[0].marker.color == outside.figure.data[0].marker.color == color(2)


def test_a_dense_run_alone_has_no_kernels_to_describe(tmp_path) -> None:
    (run,) = read_runs([report_run(tmp_path, "dense", model=DENSE)])
    assert mass_exhibits([("dense", describe_model(run.load_model()))]) == []
