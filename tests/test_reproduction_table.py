import csv
import statistics

import pytest
from finished_runs import ROWS, finished_run, one_table
from scipy.stats import ttest_rel

from dcls.errors import UserError
from reproduction.plot import table_figures


def test_means_deviations_and_the_paired_test(tmp_path) -> None:
    dense, ours = [60.0, 61.0, 63.0], [61.0, 62.5, 63.5]
    for seed in range(3):
        finished_run(tmp_path, ROWS[0], seed, dense[seed])
        finished_run(tmp_path, ROWS[1], seed, ours[seed])
    table = one_table(tmp_path, *ROWS)
    line = table.cells()[1]
    assert line["top-1"] == f"{statistics.mean(ours):.2f} ± {statistics.stdev(ours):.2f}"
    assert (line["parameters"], line["multiply-adds"], line["images/s"]) == ("123,456", "0.007 G", "101")
    comparison = table.comparison(table.rows[1])
    assert comparison.differences == [1.0, 1.5, 0.5]
    assert comparison.p_value == pytest.approx(ttest_rel(ours, dense).pvalue)
    assert line["top-1 over baseline"].startswith("+1.00 ± 0.50, p = 0.074")
    assert table.cells()[0]["top-1 over baseline"] == "-"
    assert "torch 2.14, timm 1.0, Python 3.12, 2 cores of some" in table.markdown()


def test_only_seeds_that_both_have_are_compared(tmp_path) -> None:
    for seed in range(2):
        finished_run(tmp_path, ROWS[0], seed, 60.0)
    finished_run(tmp_path, ROWS[1], 1, 61.0)
    finished_run(tmp_path, ROWS[1], 5, 80.0)
    table = one_table(tmp_path, *ROWS)
    assert table.comparison(table.rows[1]).differences == [1.0]


def test_rows_that_learn_the_task_or_do_not_are_tested_by_flips_of_signs(tmp_path) -> None:
    for seed, (dense, ours) in enumerate(zip([25.0, 24.0, 26.5], [97.0, 99.0, 98.0], strict=True)):
        finished_run(tmp_path, "reach_dense", seed, dense)
        finished_run(tmp_path, "reach_uniform", seed, ours)
    table = one_table(tmp_path, "reach/*")
    assert table.comparison(table.rows[1]).p_value == pytest.approx(2 / 2**3), "as on the study's page"


def test_numbers_for_programs(tmp_path) -> None:
    for seed in range(2):
        finished_run(tmp_path, ROWS[0], seed, 60.0)
        finished_run(tmp_path, ROWS[1], seed, 61.0)
    dense, ours = csv.DictReader(one_table(tmp_path, *ROWS).csv().splitlines())
    assert (dense["top1_mean"], dense["top1_deviation"], dense["pairs"]) == ("60.0", "0.0", "0")
    assert (ours["over_baseline_mean"], ours["over_baseline_deviation"]) == ("1.0", "0.0")
    assert ours["p_value"] == "", "equal differences cannot be tested"


def test_another_recipe_than_the_rows_is_told(tmp_path) -> None:
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    finished_run(tmp_path, ROWS[0], 1, 60.0, overrides=["schedule.epochs=7", "optimizer.lr=1", "training.device=cpu"])
    seeds = one_table(tmp_path, *ROWS).cells()[0]["seeds"]
    assert seeds == "0, 1 (with another optimizer.lr, schedule.epochs)"


def test_averaged_weights_count_where_a_run_has_them_and_published_numbers_stand_beside(tmp_path) -> None:
    finished_run(tmp_path, "imagenet/convnext_tiny_dcls_gaussian", 0, 70.0, ema=82.0)
    table = one_table(tmp_path, "imagenet/convnext_tiny", "imagenet/convnext_tiny_dcls_gaussian")
    missing, ours = table.cells()
    assert (missing["seeds"], missing["top-1"], missing["published top-1"]) == ("missing", "-", "82.1")
    assert (ours["top-1"], ours["top-5"], ours["published top-1"]) == ("82.00", "98.00", "82.6")


def test_one_seed_with_averaged_weights_and_one_without_are_drawn(tmp_path) -> None:
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    finished_run(tmp_path, ROWS[0], 1, 60.0, ema=62.0)
    table = one_table(tmp_path, *ROWS)
    assert table.cells()[0]["top-1"] == "61.00 ± 1.41"
    curve = table_figures(table)["curves"].axes[0].lines[0]
    assert curve.get_ydata()[-1] == 61.0


def test_what_was_collected_before_is_never_lost(tmp_path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    for seed in range(2):
        finished_run(runs, ROWS[0], seed, 60.0)
    one_table(runs, *ROWS).write(out)
    finished_run(runs, ROWS[1], 0, 61.0)
    table = one_table(runs, *ROWS)
    table.write(out)
    before = {file: file.read_text() for file in out.iterdir()}
    with pytest.raises(UserError, match="holds runs that are not collected now: fashion_dense with seed 0, .* seed 1;"):
        one_table(runs, ROWS[1]).write(out)
    assert {file: file.read_text() for file in out.iterdir()} == before
    (out / "studies-runs.csv").write_text("raw,seed\nfashion_dense,0\n")
    with pytest.raises(UserError, match="studies-runs.csv is damaged: .*; remove it or choose another --out"):
        table.write(out)
