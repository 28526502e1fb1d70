"""What can be reproduced: all rows of all tables."""

from collections.abc import Sequence

from evaluation.markdown import markdown_table
from reproduction.rows import Row


def overview(rows: Sequence[Row]) -> str:
    """Every row with its file, parameters and published number."""
    return markdown_table([_line(row) for row in rows])


def _line(row: Row) -> dict[str, str]:
    facts = row.config.row
    return {
        "row": row.full_name,
        "what": row.title,
        "configuration": str(row.config_file),
        "parameters": f"{facts.parameters:,}" if facts.parameters else "-",
        "epochs": str(row.config.schedule.total_epochs),
        "published top-1": "-" if facts.top1 is None else f"{facts.top1:g}",
        "source": facts.source or "-",
    }
