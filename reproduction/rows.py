"""Rows of the tables: configs/TABLE/ROW.yaml."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from dcls.errors import UserError
from training.config import Config
from training.config_file import load_config

REPOSITORY = Path(__file__).parent.parent
CONFIGS = Path("configs")  # in the repository


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: Its folder in configs/.
        name: Its file there, without the ending.
        config: What the file says.
    """

    table: str
    name: str
    config: Config

    @property
    def full_name(self) -> str:
        """TABLE/ROW, as on the command line."""
        return f"{self.table}/{self.name}"

    @property
    def config_file(self) -> Path:
        """The row's file, relative to the repository."""
        return CONFIGS / self.table / f"{self.name}.yaml"

    @property
    def title(self) -> str:
        """As a table shows it."""
        return self.config.row.title or self.name


def all_rows() -> list[Row]:
    """Every row of every table, by the names of their files."""
    files = sorted((REPOSITORY / CONFIGS).glob("*/*.yaml"))
    return [Row(file.parent.name, file.stem, load_config(file)) for file in files]


def find_rows(patterns: Sequence[str]) -> list[Row]:
    """The rows that any of the patterns names, such as imagenet/convnext_tiny, convnext_tiny or 'small/*'.

    Raises:
        UserError: a pattern names no row.
    """
    rows = all_rows()
    found: dict[str, Row] = {}
    for pattern in patterns:
        matches = [row for row in rows if fnmatch(row.full_name, pattern) or fnmatch(row.name, pattern)]
        if not matches:
            near = difflib.get_close_matches(pattern, [x for row in rows for x in (row.full_name, row.name)], n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`reproduce.py list` shows all"
            raise UserError(f"no row {pattern!r}", hint)
        found.update({row.full_name: row for row in matches})
    return list(found.values())
