"""Rows of the tables: what is known of each, in reproduction/tables/TABLE.yaml, and how it is trained."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dcls.errors import UserError
from reproduction.checked_yaml import load_checked
from training.config import Config, Count, Section
from training.config_file import load_config

REPOSITORY = Path(__file__).parent.parent
TABLES = REPOSITORY / "reproduction" / "tables"
CONFIGS = Path("configs")  # in the repository


class RowFacts(Section):
    """What is known of a row without training it."""

    model: str
    """The model and, where a table has several data sets, what it is trained on."""
    kernel: str
    """Size and number of elements of its kernels: 23x23 / 26."""
    interpolation: str | None = None
    """The DCLS interpolation, as the paper calls it; null for dense kernels."""
    variant: str | None = None
    """What the row has in common with others that differ from their baselines in the same way; by default the
    interpolation."""
    baseline: str | None = None
    """The row of the same table that it is compared with."""
    parameters: Count
    """Number of parameters."""
    published_top1: Annotated[float, Field(ge=0, le=100)] | None = None
    """Published top-1 accuracy in %; null where none was found."""
    source: str | None = None
    """Source of the published number, or what was published in place of one; n/a where nothing was found."""

    @model_validator(mode="after")
    def _consistent(self) -> "RowFacts":
        if self.published_top1 is not None and self.source in (None, "n/a"):
            raise UserError("a published number needs one", "say where it was published", key="source")
        return self


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


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: Its table's file in reproduction/tables/ and folder in configs/.
        name: Its name in the table and its file in configs/TABLE/, without the ending.
        facts: What is known of it.
        config: How it is trained.
        command_form: The command that trains it, with {config} in place of its configuration.
    """

    table: str
    name: str
    facts: RowFacts
    config: Config
    command_form: str

    @property
    def full_name(self) -> str:
        """TABLE/ROW, as on the command line."""
        return f"{self.table}/{self.name}"

    @property
    def config_file(self) -> Path:
        """The row's configuration, relative to the repository."""
        return CONFIGS / self.table / f"{self.name}.yaml"

    @property
    def command(self) -> str:
        """The command that trains the row."""
        return self.command_form.format(config=self.config_file)

    @property
    def title(self) -> str:
        """Model and kernel, as a table shows them."""
        return ", ".join(filter(None, (self.facts.model, self.facts.kernel, self.facts.interpolation)))

    @property
    def published_top1(self) -> str:
        """The published accuracy in %, or n/a."""
        return "n/a" if self.facts.published_top1 is None else f"{self.facts.published_top1:.1f}"

    @property
    def variant(self) -> str:
        """What the row has in common with others that differ from their baselines in the same way."""
        return self.facts.variant or (self.facts.interpolation or "dense").lower()


def all_rows() -> list[Row]:
    """Read every row of every table, in the order of the files.

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
    """Return the rows that any of the patterns names, such as imagenet/convnext_tiny, convnext_tiny or 'small/*'.

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
