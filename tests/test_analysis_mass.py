from dataclasses import replace

import pytest
import torch
from report_runs import DENSE, drawn, report_run

import dcls
from analysis.colors import color
from analysis.mass import DescribedRun, mass_exhibits
from analysis.run_data import read_runs
from dcls.diagnostics import describe_model


def described_runs(runs) -> list[DescribedRun]:
    return [DescribedRun(run.name, group, describe_model(run.load_model())) for group, run in enumerate(runs)]


def test_bars_and_tables_are_the_diagnostics_of_every_layer(tmp_path) -> None:
    runs = read_runs([report_run(tmp_path, "some"), report_run(tmp_path, "dense", model=DENSE)])
    radius, outside, elements = mass_exhibits(described_runs(runs))
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
    radius, *_ = mass_exhibits([DescribedRun(name, 0, describe_model(m)) for name, m in zip("ab", models, strict=True)])
    first, second = (list(trace.x) for trace in radius.figure.data)
    assert second[:5] == first and second[5] == "head.extra"


def test_bars_have_the_color_of_their_group_also_beside_dense_runs(tmp_path) -> None:
    (some,) = described_runs(read_runs([report_run(tmp_path, "some")]))
    radius, outside, _ = mass_exhibits([DescribedRun("dense", 0, {}), replace(some, group=2)])
    assert radius.figure.data[0].marker.color == outside.figure.data[0].marker.color == color(2)


def test_a_dense_run_alone_has_no_kernels_to_describe(tmp_path) -> None:
    assert mass_exhibits(described_runs(read_runs([report_run(tmp_path, "dense", model=DENSE)]))) == []


@pytest.mark.parametrize("layers", [1, 5])
def test_what_is_not_a_finite_number_is_an_empty_cell(tmp_path, layers) -> None:
    (run,) = read_runs([report_run(tmp_path, "some")])
    model = run.load_model()
    for layer in [module for module in model.modules() if isinstance(module, dcls.Dcls2d)][:layers]:
        torch.nn.init.constant_(layer.weight, torch.nan)
    radius, outside, elements = mass_exhibits([DescribedRun("some", 0, describe_model(model))])
    assert len(radius.figure.data[0].y) == len(outside.figure.data[0].y) == 5 - layers
    assert [line[1] is None for line in radius.table.lines] == [True] * layers + [False] * (5 - layers)
    assert "nan" not in str((radius, outside, elements))
