#!/usr/bin/env python3
"""Write what is generated into the documents, tables and plots, and the facts of each row into its configuration.

    python scripts/write_tables.py            # after a change of reproduction/tables, results or the models
    python scripts/write_tables.py --check    # only name the files that are out of date; a test runs this

A document (README.md, docs/**/*.md) says where a table belongs:

    <!-- table: results -->
    <!-- end -->

Everything between the two lines is replaced. The tables, from reproduction/documents.py:

    results    paper, here and command of every row of the ImageNet-1k table
    rows       every row of every table with its configuration, size, length and source
    models     every registered model with DCLS layers
    finetune-power  which difference the seeds of configs/finetune could have shown
    studies/NAME  what the rows of a study reached; docs/images/studies/NAME.png shows the same
    published  paper, here and command of the rows of the ImageNet-1k table with a published number
    benchmarks/results/NAME.md, parity/results/NAME.md, results/TABLE/TABLE.md    what was measured, as its script
                  wrote it there
"""

import argparse
import sys
from pathlib import Path

import _checkout  # noqa: F401

from reproduction.documents import configurations, documents
from reproduction.row import REPOSITORY
from reproduction.study_plot import study_plots
from reproduction.study_runs import read_runs
from training.cli import cli_errors

PLOTS = REPOSITORY / "docs/images/studies"


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    options = parser.parse_args()
    with cli_errors():
        write(check=options.check)


def write(*, check: bool) -> None:
    """Write what is out of date, or only name it and fail."""
    wanted = {file: text.encode() for file, text in (documents() | configurations()).items()}
    outdated = {file: content for file, content in wanted.items() if not _holds(file, content)}
    plots = [plot for plot in study_plots(read_runs()) if not plot.is_current(PLOTS)]
    if not check:
        for file, content in outdated.items():
            file.write_bytes(content)
        for plot in plots:
            plot.write(PLOTS)
    for file in [*outdated, *(PLOTS / f"{plot.name}.png" for plot in plots)]:
        print(f"{file.relative_to(REPOSITORY)}{' is out of date' if check else ''}")
    if check and (outdated or plots):
        sys.exit("error: run `python scripts/write_tables.py`")


def _holds(file: Path, content: bytes) -> bool:
    return file.exists() and file.read_bytes() == content


if __name__ == "__main__":
    main()
