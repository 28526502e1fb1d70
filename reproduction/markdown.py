"""Tables as Markdown text."""

from collections.abc import Sequence


def markdown_table(lines: Sequence[dict[str, str]]) -> str:
    """Column -> text for every line; all lines have the columns of the first."""
    columns = list(lines[0])
    cells = [columns, ["---"] * len(columns), *([line[column] for column in columns] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
