"""One row of a table: what is known of it, and how it is trained."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from dcls.errors import UserError
from training.config import Config, Count, Section

REPOSITORY = Path(__file__).parent.parent
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
    bimodal: bool = False
    """Whether a run learns the task or does not, so that accuracies have two peaks: differences are then tested by
    flipping their signs."""
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


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        table: Its table's file in reproduction/tables/ and folder in configs/.
        name: Its name in the table and its file in configs/TABLE/, without the ending.
        facts: What is known of it.
        config: How it is trained.
        command_form: The command that trains it, with {config} in place of its configuration.
        config_name: File in configs/TABLE/, without the ending, where it is not called as the row.
        overrides: section.key=value, where rows have a file in common.
        studies: The studies that the row belongs to, by any of which it is found.
    """

    table: str
    name: str
    facts: RowFacts
    config: Config
    command_form: str
    config_name: str | None = None
    overrides: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """TABLE/ROW, as on the command line."""
        return f"{self.table}/{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        """What the row can be called on the command line: TABLE/ROW, ROW or STUDY/ROW."""
        return (self.full_name, self.name, *(f"{study}/{self.name}" for study in self.studies))

    @property
    def config_file(self) -> Path:
        """The row's configuration, relative to the repository."""
        return CONFIGS / self.table / f"{self.config_name or self.name}.yaml"

    @property
    def command(self) -> str:
        """The command that trains the row."""
        return " ".join([self.command_form.format(config=self.config_file), *map(shlex.quote, self.overrides)])

    @property
    def title(self) -> str:
        """Model, kernel and what is special about it, as a table shows them."""
        special = self.facts.variant if self.studies else self.facts.interpolation
        return ", ".join(filter(None, (self.facts.model, self.facts.kernel, special)))

    @property
    def published_top1(self) -> str:
        """The published accuracy in %, or n/a."""
        return "n/a" if self.facts.published_top1 is None else f"{self.facts.published_top1:.1f}"

    @property
    def variant(self) -> str:
        """What the row has in common with others that differ from their baselines in the same way."""
        return self.facts.variant or (self.facts.interpolation or "dense").lower()
