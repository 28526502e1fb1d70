"""From the folders of runs to the file of their report."""

import os
from collections.abc import Sequence
from pathlib import Path

from analysis.page import MARK, render
from analysis.run_data import read_runs, runs_in
from dcls.errors import UserError
from training.atomic_io import write_atomic

REPORT = "report.html"


def write_report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of one or several runs.

    Args:
        folders: Of runs, or that hold folders of runs.
        out: The file; by default report.html in the first of the folders.

    Returns:
        The file.

    Raises:
        UserError: a folder holds no run, or the file cannot be written or is something else than a report.
    """
    out = out or folders[0] / REPORT
    runs = [run for folder in folders for run in runs_in(folder)]
    _check_may_write(out)  # before checkpoints are read, which takes minutes where there are many
    page = render(read_runs(runs)).encode(errors="replace")  # names of folders may be no UTF-8
    write_atomic(out, lambda file: file.write(page))
    return out


def _check_may_write(out: Path) -> None:
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent}", "create it or choose another file", key="--out")
    if out.is_dir():
        raise UserError(f"{out} is a folder", "name a file in it", key="--out")
    if out.exists() and not (out.is_file() and _begins_as_report(out)):
        raise UserError(f"{out} already exists and is not a report", "choose another file", key="--out")
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"{out.parent} cannot be written", "choose a file in another folder", key="--out")


def _begins_as_report(file: Path) -> bool:
    with file.open("rb") as content:
        beginning = content.read(4096)
    return beginning.lstrip().startswith(b"<!DOCTYPE html>") and MARK.encode() in beginning
