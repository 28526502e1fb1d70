import numpy as np
from report_runs import DENSE, drawn, report_run

from analysis.curves import BAND, OTHER_BANDS, curve_exhibits
from analysis.run_data import RunData, read_runs
from analysis.run_groups import group_runs


def exhibits(folders) -> dict:
    return {exhibit.key: exhibit for exhibit in curve_exhibits(group_runs(read_runs(folders)))}


def test_one_run_is_drawn_by_what_was_measured(tmp_path) -> None:
    found = exhibits([report_run(tmp_path, "some")])
    assert list(found) == ["loss", "top1", "rate", "speed", "waiting"]
    assert np.allclose(drawn(found["loss"].figure, "training"), [2.0, 1.9, 1.8])
    assert np.allclose(drawn(found["waiting"].figure, "waiting"), 25)
    assert (
        found["top1"].table.lines == [["1", 50.0], ["2", 60.0], ["3", 70.0]] and "weights 70" in found["top1"].summary
    )
    assert BAND not in found["top1"].notes


def test_seeds_are_a_band_from_lowest_to_highest(tmp_path) -> None:
    folders = [report_run(tmp_path, f"dcls-seed{seed}", seed=seed) for seed in range(3)]
    found = exhibits([*folders, report_run(tmp_path, "dense", model=DENSE, epochs=2)])
    figure = found["top1"].figure
    assert list(drawn(figure, "dcls (3 runs)")) == [51.0, 61.0, 71.0] and list(drawn(figure, "dense")) == [50.0, 60.0]
    (band,) = [trace for trace in figure.data if trace.fill == "toself"]
    assert list(band.y) == [52.0, 62.0, 72.0, 70.0, 60.0, 50.0] and list(band.x) == [1, 2, 3, 3, 2, 1]
    assert BAND in found["top1"].notes
    assert found["top1"].table.lines[2] == ["3", 71.0, 70.0, 72.0, None]
    assert "Solid: validation; dashed: training." in found["loss"].notes


def test_a_run_without_epochs_has_no_curves(tmp_path) -> None:
    assert curve_exhibits(group_runs([RunData(tmp_path, "x")])) == []


def test_names_cannot_be_markup(tmp_path) -> None:
    history = [{"epoch": 0, "val_top1": 50.0}]
    runs = [RunData(tmp_path / name, name, history) for name in ("<b>x</b>", "y")]
    (exhibit,) = curve_exhibits(group_runs(runs))
    assert exhibit.figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"


def test_beside_other_runs_only_the_solid_line_has_a_band(tmp_path) -> None:
    def rows(seed: int) -> list[dict[str, float]]:
        return [{"epoch": epoch, "val_top1": 50.0 + seed, "ema_top1": 52.0 + seed} for epoch in range(2)]

    seeds = [
        RunData(tmp_path / f"a{seed}", f"a-seed{seed}", rows(seed), {"training": {"seed": seed}}) for seed in (0, 1)
    ]
    for others, bands in (([], 2), ([RunData(tmp_path / "b", "b", rows(0))], 1)):
        (exhibit,) = curve_exhibits(group_runs([*seeds, *others]))
        assert [trace.fill for trace in exhibit.figure.data].count("toself") == bands
        assert (OTHER_BANDS in exhibit.notes) == bool(others)
        assert exhibit.table.lines[0][1:4] == [52.5, 52.0, 53.0], "the averaged weights first"
