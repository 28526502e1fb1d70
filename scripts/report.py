#!/usr/bin/env python3
"""Write what runs learned into one HTML file: curves, kernels, where elements moved, receptive fields.

    scripts/report.py output/quickstart
    scripts/report.py output/dense-seed* output/dcls-seed* --out comparison.html
    scripts/report.py output/studies --out studies.html

Runs that differ in their seed only are drawn as one curve with a band.
"""

import argparse
from pathlib import Path

import _checkout  # noqa: F401

from training.cli import cli_errors
from training.extras import require_package


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or of several")
    parser.add_argument("--out", type=Path, help="file to write, by default report.html in the first folder")
    options = parser.parse_args()
    with cli_errors():
        require_package("plotly", "report", "scripts/report.py")
        from analysis.report import write_report  # needs what was just looked for

        print(write_report(options.runs, options.out))


if __name__ == "__main__":
    main()
