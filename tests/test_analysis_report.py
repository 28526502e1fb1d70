import os
from pathlib import Path

import pytest
from report_runs import report_run

import analysis.report
from analysis.page import MARK
from analysis.report import write_report
from dcls.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis.report, "render", lambda runs: f"<!DOCTYPE html>{MARK} {len(runs)}")
    return report_run(tmp_path, "some")


def test_a_report_is_beside_its_first_run_and_takes_the_place_of_the_one_before(run) -> None:
    assert write_report([run, run]) == run / "report.html"
    assert (run / "report.html").read_text() == f"<!DOCTYPE html>{MARK} 1"
    assert write_report([run]) == run / "report.html"


def test_what_is_no_report_is_not_overwritten_and_no_run_is_read_for_it(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(analysis.report, "read_runs", lambda folders: pytest.fail("runs were read"))
    (tmp_path / "thesis.html").write_text("years of work")
    for out, problem in (
        (tmp_path / "thesis.html", "already exists and is not a report; choose another file"),
        (tmp_path / "missing" / "x.html", "there is no folder"),
        (tmp_path, "is a folder"),
        (Path("/dev/full"), "already exists and is not a report"),
    ):
        with pytest.raises(UserError, match=problem):
            write_report([run], out)
    assert (tmp_path / "thesis.html").read_text() == "years of work"


def test_a_file_that_only_quotes_a_report_is_kept(run, tmp_path) -> None:
    (tmp_path / "page.py").write_text(f"MARK = '{MARK}'")
    with pytest.raises(UserError, match="is not a report"):
        write_report([run], tmp_path / "page.py")


def test_a_folder_whose_name_is_no_utf_8_has_a_report(run) -> None:
    odd = run.with_name(os.fsdecode(b"caf\xe9"))
    run.rename(odd)
    assert write_report([odd]).is_file()


def test_a_folder_that_cannot_be_written_is_told_of_before_runs_are_read(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(analysis.report, "read_runs", lambda folders: pytest.fail("runs were read"))
    # Root may write anywhere but on a read-only disk.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(UserError, match="cannot be written; choose a file in another folder"):
        write_report([run], tmp_path / "x.html")


def test_a_folder_without_a_run_is_told_of_before_the_file(tmp_path) -> None:
    with pytest.raises(UserError, match="missing holds no run"):
        write_report([tmp_path / "missing"])
