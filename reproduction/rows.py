"""Rows of the tables and studies, read from reproduction/tables/TABLE.yaml and reproduction/studies/STUDY.yaml."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from pydantic import model_validator

from dcls.errors import UserError
from reproduction.checked_yaml import load_checked
from reproduction.row import CONFIGS, REPOSITORY, Row, RowFacts
from reproduction.studies import study_rows
from training.config import Section
from training.config_file import load_config

TABLES = REPOSITORY / "reproduction" / "tables"


class TableFacts(Section):
    """One file of reproduction/tables."""

    command: str
    """How a row is trained; {config} is replaced by its configuration."""
    rows: dict[str, RowFacts]
    """Name of each row, which is that of its configuration in configs/TABLE -> what is known of it."""

    @model_validator(mode="after")
    def _consistent(self) -> "TableFacts":
        for name, row in self.rows.items():
            if row.baseline is not None and row.baseline not in self.rows:
                raise UserError(f"there is no row {row.baseline}", "name one of the same table", key=f"{name}.baseline")
        return self


def all_rows() -> list[Row]:
    """Read every row of every table, in the order of the files; those of studies are apart.

    Raises:
        UserError: a table or configuration is missing or wrong.
    """
    return [row for file in sorted(TABLES.glob("*.yaml")) for row in read_rows(file)]


def read_rows(file: Path) -> list[Row]:
    """Read the rows of one table's file, with their configurations.

    Raises:
        UserError: the file, or a configuration, is missing or wrong.
    """
    table, folder = load_checked(file, TableFacts), REPOSITORY / CONFIGS / file.stem
    return [
        Row(file.stem, name, facts, load_config(folder / f"{name}.yaml"), table.command)
        for name, facts in table.rows.items()
    ]


def find_rows(patterns: Sequence[str]) -> list[Row]:
    """Return the rows that any of the patterns names: imagenet/convnext_tiny, convnext_tiny, 'imagenet/*', 'spreads/*'.

    Raises:
        UserError: a pattern names no row.
    """
    rows = [*all_rows(), *study_rows()]
    found: dict[str, Row] = {}
    for pattern in patterns:
        matches = [row for row in rows if any(fnmatch(name, pattern) for name in row.names)]
        if not matches:
            raise UserError(f"no row {pattern!r}", _hint(pattern, [name for row in rows for name in row.names]))
        found.update({row.full_name: row for row in matches})
    return list(found.values())


def _hint(pattern: str, names: Sequence[str]) -> str:
    """Name rows that may be meant: of the same table or study, if there is one."""
    table, slash, _ = pattern.partition("/")
    if of_table := [name for name in names if slash and name.startswith(f"{table}/")]:
        near = difflib.get_close_matches(pattern, of_table, n=3, cutoff=0.0)
        return f"{table} has {', '.join(near)}, ...; `reproduce.py list` shows all"
    near = difflib.get_close_matches(pattern, names, n=3)
    return f"did you mean {', '.join(near)}?" if near else "`reproduce.py list` shows all"
