import os
import shutil

import pytest
from report_runs import DENSE, report_run

from analysis.run_data import read_run, read_runs, runs_in
from dcls.errors import UserError
from training.checkpoints.checkpoint import save_checkpoint


def test_a_finished_run_is_read_whole(tmp_path) -> None:
    run = read_run(report_run(tmp_path, "some", seed=3), "some")
    assert run.is_finished and run.notes == [] and run.weights.name == "model.safetensors"
    assert [row["val_top1"] for row in run.history] == [53.0, 63.0, 73.0]
    assert run.setting("training.seed") == 3 and run.setting("no.such_key") is None
    assert [epoch for epoch, _ in run.positions] == [0, 1, 2, 3]
    assert run.environment["python"] == "3.12" and not run.load_model().training


def test_a_dense_run_has_no_positions(tmp_path) -> None:
    run = read_run(report_run(tmp_path, "dense", model=DENSE), "dense")
    assert run.positions == [] and run.notes == [] and run.load_model() is not None


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda folder: (folder / "metrics.csv").write_text("epoch,val_top1\n0,fifty\n"), "metrics.csv is damaged and"),
        (lambda folder: (folder / "metrics.csv").write_bytes(b"epoch\n\x00\xff\n"), "metrics.csv is damaged and"),
        (lambda folder: (folder / "metrics.csv").write_text("epoch,val_top1\n,50\n"), "metrics.csv is damaged and"),
        (lambda folder: (folder / "metrics.csv").unlink(), "metrics.csv is missing"),
        (lambda folder: (folder / "config.yaml").write_text("model: [\n"), "config.yaml is damaged and"),
        (lambda folder: (folder / "config.yaml").write_text("just text"), "config.yaml is damaged and"),
        (lambda folder: (folder / "config.yaml").write_text("model: {1: 2}"), "config.yaml is damaged and"),
        (lambda folder: (folder / "environment.json").write_text("[1]"), "environment.json is damaged and"),
        (lambda folder: (folder / "environment.json").write_text('{"python": '), "environment.json is damaged and"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "model.safetensors is left out"),
        (lambda folder: (folder / "positions/epoch_0001.npz").write_bytes(b"?"), "files in positions are damaged and"),
    ],
)
def test_what_is_damaged_is_noted_and_the_rest_is_read(tmp_path, damage, note) -> None:
    folder = report_run(tmp_path, "some")
    damage(folder)
    run = read_run(folder, "some")
    assert note in run.notes[0] and len(run.notes) == (2 if note.startswith("model") else 1)
    assert (run.load_model() is None) == note.startswith("model") and bool(run.history) != note.startswith("metrics")


@pytest.mark.parametrize(("lines", "epochs"), [(0, 0), (1, 0), (3, 2)])
def test_epochs_that_a_finished_run_has_lost_are_noted(tmp_path, lines, epochs) -> None:
    folder = report_run(tmp_path, "some")
    whole = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(whole[:lines]))
    run = read_run(folder, "some")
    assert len(run.history) == epochs and run.notes == [f"metrics.csv has {epochs} of the run's 3 epochs."]


@pytest.mark.parametrize(
    "tail", [b"2", b"2,\xff\n3,1.0\n", b"\0" * 50, b"2,1,2,3,4,5,6,7,8,9,10,11,12,13\n", b"x,50.0\n"]
)
def test_metrics_are_read_as_far_as_they_are_whole(tmp_path, tail) -> None:
    folder = report_run(tmp_path, "some")
    whole = (folder / "metrics.csv").read_bytes().splitlines(keepends=True)
    (folder / "metrics.csv").write_bytes(b"".join(whole[:3]) + tail)
    run = read_run(folder, "some")
    assert [row["val_top1"] for row in run.history] == [50.0, 60.0]
    assert run.notes[0].startswith("metrics.csv is damaged; it is read as far as line 3: ")


def test_a_run_that_is_not_finished_says_so(tmp_path) -> None:
    folder = report_run(tmp_path, "some")
    (folder / "model.safetensors").unlink()
    run = read_run(folder, "some")
    assert not run.is_finished and run.load_model() is None
    assert run.notes == [
        "There are no weights, so kernels and receptive field are not shown.",
        "The run is not finished: 3 epochs are complete.",
    ]


def test_a_state_takes_the_place_of_weights_that_are_damaged(tmp_path) -> None:
    folder = report_run(tmp_path, "some")
    whole = read_run(folder, "some")
    content = {"state_dict": whole.load_model().state_dict(), "description": whole.description.to_dict()}
    save_checkpoint(folder / "last.pt", content)
    (folder / "model.safetensors").write_bytes(b"no weights")
    run = read_run(folder, "some")
    assert run.weights.name == "last.pt" and run.load_model() is not None and len(run.notes) == 1


@pytest.mark.parametrize("name", ["empty", "missing", "file"])
def test_a_folder_that_holds_no_run_is_refused(tmp_path, name) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"{name} holds no run: .*name the folder of a run"):
        runs_in(tmp_path / name)


def test_a_folder_of_runs_stands_for_all_of_them(tmp_path) -> None:
    runs = [report_run(tmp_path, name) for name in ("b", "a")]
    (tmp_path / "no run").mkdir()
    assert runs_in(tmp_path) == sorted(runs) and runs_in(runs[0]) == runs[:1]


def test_what_cannot_be_read_in_a_folder_of_runs_is_left_out(tmp_path, monkeypatch, capsys) -> None:
    runs = [report_run(tmp_path, name) for name in ("a", "b")]
    monkeypatch.setattr(os, "access", lambda path, mode: path != runs[1])  # root may read anything
    assert runs_in(tmp_path) == runs[:1]
    assert capsys.readouterr().err == f"warning: left out {runs[1]}, which cannot be read\n"
    with pytest.raises(UserError, match="b cannot be read; ask its owner"):
        runs_in(runs[1])


def test_a_name_that_is_no_utf_8_is_printable(tmp_path) -> None:
    folder = report_run(tmp_path, "some").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert [run.name for run in read_runs([folder])] == ["caf\ufffd"]


def test_names_are_as_short_as_they_can_be_and_a_run_is_read_once(tmp_path) -> None:
    first = report_run(tmp_path / "a", "some")
    second = tmp_path / "b" / "some"
    shutil.copytree(first, second)
    assert [run.name for run in read_runs([first, first / ".." / "some"])] == ["some"]
    assert [run.name for run in read_runs([first, second])] == ["a/some", "b/some"]
