"""Studies: questions that are answered by rows which differ in a few keys, one file each in reproduction/studies."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from dcls.errors import UserError
from reproduction.checked_yaml import load_checked
from reproduction.row import CONFIGS, REPOSITORY, Row, RowFacts
from training.config import Count, Section
from training.config_file import load_config

TABLE = "studies"  # all studies have one folder of configurations, runs and results: they have rows in common
FILES = REPOSITORY / "reproduction" / TABLE


@dataclass(frozen=True)
class Setting:
    """What a configuration in configs/studies is trained on."""

    title: str
    validation_images: int


SETTINGS = {
    "embedded": Setting("4,000 images of Fashion-MNIST", 1_000),
    "fashion": Setting("Fashion-MNIST", 10_000),
    "cifar10": Setting("CIFAR-10", 10_000),
    "cifar10_long": Setting("CIFAR-10, trained longer", 10_000),
    "convformer_fashion": Setting("Fashion-MNIST, ConvFormer", 10_000),
    "convformer_cifar10": Setting("CIFAR-10, ConvFormer", 10_000),
    "reach": Setting("distance of two discs", 1_000),
}
"""By the name of the configuration."""


class VariantFacts(Section):
    """What one row of a study is."""

    title: str
    """In a few words."""
    kernel: str
    """Size and number of elements of its kernels: 23x23 / 26."""
    parameters: Count
    """Number of parameters."""
    set: dict[str, Any] = Field(default={})
    """Keys in which it differs from its setting's configuration -> value."""

    @property
    def label(self) -> str:
        """The row in a plot or a sentence."""
        return f"{self.title}, {self.kernel}"

    @property
    def overrides(self) -> tuple[str, ...]:
        """As on the command line of train.py."""
        return tuple(f"{key}={_inline(value)}" for key, value in self.set.items())


class StudyFacts(Section):
    """One file of reproduction/studies."""

    question: str
    """What it is to answer."""
    settings: list[str]
    """Names of configurations in configs/studies: every variant is trained in each."""
    baseline: str
    """The variant with dense kernels."""
    reference: str
    """The DCLS variant that the others are compared with, too."""
    bimodal: bool = False
    """Whether a run learns the task or does not, so that accuracies have two peaks: differences are then tested by
    flipping their signs, and no standard deviation of theirs is pooled."""
    variants: dict[str, VariantFacts]
    """Name -> what it is. A name means the same in all studies."""

    @model_validator(mode="after")
    def _consistent(self) -> "StudyFacts":
        for key in ("baseline", "reference"):
            if getattr(self, key) not in self.variants:
                raise UserError(f"there is no variant {getattr(self, key)}", "name one of variants", key=key)
        for name in self.settings:
            if name not in SETTINGS:
                raise UserError(f"there is no setting {name}", f"take {', '.join(SETTINGS)}", key="settings")
        return self


@dataclass(frozen=True)
class Study:
    """A question and the names of the rows that answer it."""

    name: str
    facts: StudyFacts

    def row_name(self, setting: str, variant: str) -> str:
        """Return the name of a row in the table of all studies."""
        return f"{setting}_{variant}"

    def measured(self, setting: str, rows: Container[str]) -> list[str]:
        """Return the variants whose rows are among those of which there are runs."""
        return [variant for variant in self.facts.variants if self.row_name(setting, variant) in rows]

    def rows(self) -> Iterator[Row]:
        """Build every row, setting by setting."""
        for setting in self.facts.settings:
            for name, variant in self.facts.variants.items():
                yield self._row(setting, name, variant)

    def _row(self, setting: str, name: str, variant: VariantFacts) -> Row:
        baseline = None if name == self.facts.baseline else self.row_name(setting, self.facts.baseline)
        facts = RowFacts(
            model=SETTINGS[setting].title,
            kernel=variant.kernel,
            variant=variant.title,
            baseline=baseline,
            bimodal=self.facts.bimodal,
            parameters=variant.parameters,
        )
        config = load_config(REPOSITORY / CONFIGS / TABLE / f"{setting}.yaml", variant.overrides)
        command = "python train.py --config {config}"
        return Row(
            TABLE, self.row_name(setting, name), facts, config, command, setting, variant.overrides, (self.name,)
        )


@cache
def all_studies() -> dict[str, Study]:
    """Read every study, by name.

    Raises:
        UserError: a file is wrong.
    """
    return {file.stem: read_study(file) for file in sorted(FILES.glob("*.yaml"))}


def read_study(file: Path) -> Study:
    """Read one study's file.

    Raises:
        UserError: it is missing or wrong.
    """
    return Study(file.stem, load_checked(file, StudyFacts))


@cache
def study_rows() -> tuple[Row, ...]:
    """Return the rows of all studies, each once: it knows all the studies that it belongs to.

    Raises:
        UserError: a file is wrong, or two studies mean different things by one name.
    """
    found: dict[str, Row] = {}
    for study in all_studies().values():
        for row in study.rows():
            known = found.get(row.name, replace(row, studies=()))
            if (known.overrides, known.facts) != (row.overrides, row.facts):
                raise UserError(f"{row.name} is something else in another study", "rename it", origin=study.name)
            found[row.name] = replace(known, studies=(*known.studies, study.name))
    return tuple(found.values())


def _inline(value: Any) -> str:
    """Write a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("\n...\n").strip()
