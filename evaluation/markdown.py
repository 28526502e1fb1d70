"""Tables as text: Markdown for people, CSV for programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a GitHub Markdown table, without a line end, of rows that all have the same columns, name -> text."""
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return CSV with a header. A column that a row lacks, or has as None, is left empty."""
    text = io.StringIO()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
