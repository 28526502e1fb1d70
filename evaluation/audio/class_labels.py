"""AudioSet's class_labels_indices.csv: which output of a model stands for which class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evaluation.audio.clip_table import malformed, read_csv

CLASS_FILE = "class_labels_indices.csv"


@dataclass(frozen=True)
class ClassLabels:
    """The classes of a model in the order of its outputs.

    Attributes:
        ids: Machine ids, such as /m/09x0r.
        names: Display names, such as Speech.
    """

    ids: Sequence[str]
    names: Sequence[str]

    @cached_property
    def index(self) -> dict[str, int]:
        """Machine id or display name -> output."""
        return {name: output for names in (self.names, self.ids) for output, name in enumerate(names)}


def read_class_labels(file: Path) -> ClassLabels:
    """Read the columns index, mid and display_name, in whatever order the rows are.

    Raises:
        UserError: it is no such table, or an index is missing or there twice.
    """
    rows = read_csv(file, ("index", "mid", "display_name"))
    by_index = {row.cells["index"]: row for row in rows}
    if set(by_index) != {str(index) for index in range(len(rows))}:
        raise malformed(file, f"the indices of its {len(rows)} classes are not 0 to {len(rows) - 1}, each once")
    ordered = [by_index[str(index)].cells for index in range(len(rows))]
    return ClassLabels([cells["mid"] for cells in ordered], [cells["display_name"] for cells in ordered])
