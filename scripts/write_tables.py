#!/usr/bin/env python3
"""Write every table that is generated into the documents, and the facts of each row into its configuration's header.

    python scripts/write_tables.py            # after a change of reproduction/tables, results or the models
    python scripts/write_tables.py --check    # only name the files that are out of date; a test runs this

A document (README.md, docs/**/*.md) says where a table belongs:

    <!-- table: results -->
    <!-- end -->

Everything between the two lines is replaced. The tables, from reproduction/documents.py:

    results    paper, here and command of every row of the ImageNet-1k table
    rows       every row of every table with its configuration, size, length and source
    models     every registered model with DCLS layers
    small      top-1 of configs/small, settings by variants
    small-power  which difference the seeds of configs/small could have shown
    studies/NAME  what the rows of a study reached
    published  paper, here and command of the rows of the ImageNet-1k table with a published number
    benchmarks/results/NAME.md, parity/results/NAME.md    what was measured, as its script wrote it there
"""

import argparse
import sys

import _checkout  # noqa: F401

from reproduction.documents import configurations, documents
from reproduction.row import REPOSITORY


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    options = parser.parse_args()
    wanted = documents() | configurations()
    outdated = {file: text for file, text in wanted.items() if text != file.read_text(encoding="utf-8")}
    for file, text in outdated.items():
        print(f"{file.relative_to(REPOSITORY)}{' is out of date' if options.check else ''}")
        if not options.check:
            file.write_text(text, encoding="utf-8")
    if options.check and outdated:
        sys.exit("error: run `python scripts/write_tables.py`")


if __name__ == "__main__":
    main()
