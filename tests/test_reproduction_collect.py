import pytest
from finished_runs import ROWS, finished_run, one_table

from dcls.errors import UserError
from reproduction.collect import collect
from reproduction.rows import find_rows


def test_unfinished_and_damaged_runs(tmp_path) -> None:
    with pytest.raises(UserError, match="holds no run of these rows"):
        collect(tmp_path, find_rows(ROWS))
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    finished_run(tmp_path, ROWS[0], 1, 60.0)
    (tmp_path / "studies" / "fashion_dense-seed1" / "model.safetensors").unlink()
    assert one_table(tmp_path, *ROWS).cells()[0]["seeds"] == "0 (1 not finished)"
    (tmp_path / "studies" / "fashion_dense-seed0" / "metrics.csv").write_text("epoch\n")
    with pytest.raises(UserError, match="fashion_dense-seed0 cannot be collected"):
        collect(tmp_path, find_rows(ROWS))


def test_a_folder_whose_seed_is_no_number_is_no_run(tmp_path) -> None:
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    (tmp_path / "studies" / "fashion_dense-seed²").mkdir()
    assert list(one_table(tmp_path, ROWS[0]).rows[0].results) == [0]


def test_an_empty_cell_is_a_value_that_was_not_measured(tmp_path) -> None:
    finished_run(tmp_path, ROWS[0], 0, 80.0)
    metrics = tmp_path / "studies" / "fashion_dense-seed0" / "metrics.csv"
    head, *rows = metrics.read_text().splitlines()
    empty = [f"{row}," for row in rows[1:]]
    metrics.write_text("\n".join([f"{head},loader_images_per_second", f"{rows[0]},700.5", *empty, ""]))
    (result,) = one_table(tmp_path, ROWS[0]).rows[0].results.values()
    assert result.top1 == 80.0
    assert [epoch.get("loader_images_per_second") for epoch in result.history[:2]] == [700.5, None]


def _damage(file, old, new) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "file, old, new, problem",
    [
        ("config.yaml", "seed: 0", "seed: 7", "it was trained with seed 7"),
        ("metrics.csv", ",60.0,", ",nan,", "the last line of metrics.csv has a number that is not finite"),
        ("metrics.csv", "val_top1", "top1", "KeyError('val_top1')"),
        ("environment.json", '"commit"', '"x"', "KeyError('commit')"),
        ("environment.json", "{", "[", "JSONDecodeError"),
        ("config.yaml", "schedule:", "x:", "KeyError('schedule')"),
    ],
)
def test_a_run_whose_outcome_cannot_be_trusted_is_named(tmp_path, file, old, new, problem) -> None:
    for seed in range(2):
        finished_run(tmp_path, ROWS[0], seed, 60.0)
    _damage(tmp_path / "studies" / "fashion_dense-seed0" / file, old, new)
    with pytest.raises(UserError) as raised:
        collect(tmp_path, find_rows(ROWS))
    assert "fashion_dense-seed0 cannot be collected: " in str(raised.value) and problem in str(raised.value)


def test_a_table_that_lost_its_end_is_named(tmp_path) -> None:
    finished_run(tmp_path, ROWS[0], 0, 60.0)
    metrics = tmp_path / "studies" / "fashion_dense-seed0" / "metrics.csv"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match=f"metrics.csv has {len(lines) - 2} of {len(lines) - 1} epochs"):
        collect(tmp_path, find_rows(ROWS))
