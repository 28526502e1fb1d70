"""Files that repeat facts of this project, each written from where the fact is: documents and configurations."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from dcls.errors import UserError
from evaluation.model_list import models_table
from reproduction.overview import config_header, overview, power_of, results_table
from reproduction.row import REPOSITORY
from reproduction.rows import all_rows, find_rows
from reproduction.studies import all_studies
from reproduction.study_table import study_table

TABLES: dict[str, Callable[[], str]] = {
    "results": lambda: results_table(find_rows(["imagenet/*"])),
    "rows": lambda: overview(all_rows()),
    "models": models_table,
    "finetune-power": lambda: power_of("finetune"),
    "published": lambda: results_table([row for row in find_rows(["imagenet/*"]) if row.facts.published_top1]),
}
_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_HEADER = re.compile(r"\A# Row: .*\n# Run: .*\n# Expect: .*\n")


def documents(root: Path = REPOSITORY) -> dict[Path, str]:
    """Return the text that README.md and every document below docs/ should have, all generated tables in place.

    Raises:
        UserError: a document asks for a table that does not exist, or results are damaged.
    """
    files = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return {file: _filled(file) for file in files}


def _filled(file: Path) -> str:
    try:
        return fill_blocks(file.read_text(encoding="utf-8"))
    except UserError as error:
        raise error.replace(origin=str(file)) from None


def fill_blocks(text: str) -> str:
    """Replace what is between each ``<!-- table: NAME -->`` and ``<!-- end -->`` by the table.

    Raises:
        UserError: there is no table of this name.
    """
    return _BLOCK.sub(lambda block: f"{block[1]}{table(block[2])}\n{block[3]}", text)


@cache
def table(name: str) -> str:
    """Generate one table, or return what a benchmark or ``collect`` wrote: its table with machine, versions and date.

    Raises:
        UserError: there is no table of this name.
    """
    if name.startswith(("benchmarks/results/", "parity/results/", "results/")) and not (REPOSITORY / name).is_file():
        raise UserError(f"there is no file {name}", "run its benchmark, or scripts/reproduce.py collect")
    if name.startswith(("benchmarks/results/", "parity/results/")):
        return (REPOSITORY / name).read_text(encoding="utf-8").strip()
    if name.startswith("results/"):
        heading, _, collected = (REPOSITORY / name).read_text(encoding="utf-8").partition("\n\n")
        assert heading.startswith("# ")
        return collected.strip()
    if name.startswith("studies/") and name.removeprefix("studies/") in all_studies():
        return study_table(name.removeprefix("studies/"))
    if name not in TABLES:
        studies = [f"studies/{study}" for study in all_studies()]
        raise UserError(
            f"there is no table {name!r}",
            f"take {', '.join([*TABLES, *studies])} or a file of benchmarks/results, parity/results or results",
        )
    return TABLES[name]()


def configurations() -> dict[Path, str]:
    """Return the text that the configuration of every row should have, its first three lines from the row's facts."""
    files = {REPOSITORY / row.config_file: config_header(row) for row in all_rows()}
    return {file: header + _HEADER.sub("", file.read_text(encoding="utf-8")) for file, header in files.items()}
