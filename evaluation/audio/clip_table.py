"""CSV tables of clips and their labels: our own, and AudioSet's as it is distributed."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dcls.errors import UserError
from training.data.image_files import printable

_OURS = ("file", "labels")
_AUDIOSET = ("YTID", "start_seconds", "end_seconds", "positive_labels")


class Row(NamedTuple):
    """One line of a table: its number in the file, from 1, and column -> text."""

    line: int
    cells: dict[str, str]


class TableClip(NamedTuple):
    """One clip of a table.

    Attributes:
        line: Its line in the file.
        names: What its file may be called: relative to the table's folder, or without a suffix in AudioSet's tables.
        labels: Machine ids or names of its classes.
    """

    line: int
    names: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ClipTable:
    """A table of clips.

    Attributes:
        clips: One for each row.
        is_audioset: Whether it names clips as AudioSet does, by video and time, and not by file.
    """

    clips: list[TableClip]
    is_audioset: bool


def read_clip_table(file: Path) -> ClipTable:
    """Read a table with the columns file and labels, or AudioSet's YTID, start_seconds, end_seconds, positive_labels.

    Several labels of a clip are separated by commas, within quotes.

    Raises:
        UserError: it is no such table, it is empty, or a clip is there twice.
    """
    rows = read_csv(file, _OURS, _AUDIOSET)
    is_audioset = set(_AUDIOSET) <= set(rows[0].cells)
    clips = [_audioset_clip(file, row) if is_audioset else _clip(row) for row in rows]
    lines: dict[str, int] = {}
    for clip in clips:
        if lines.setdefault(clip.names[0], clip.line) != clip.line:
            raise malformed(file, f"lines {lines[clip.names[0]]} and {clip.line} are both of {clip.names[0]}")
    return ClipTable(clips, is_audioset)


def read_csv(file: Path, *tables: Sequence[str]) -> list[Row]:
    """Return the rows; as AudioSet has it, lines before that of the columns may be comments with #.

    Args:
        tables: The columns that a table may have, among others.

    Raises:
        UserError: it is missing, unreadable or empty, lacks a column, or a row has too many or too few cells.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            lines = _numbered(csv.reader(text, skipinitialspace=True, strict=True))
            header = _header(file, lines, tables)
            rows = [Row(number, _cells(file, number, header, cells)) for number, cells in lines]
    except OSError as error:
        raise malformed(file, error.strerror or type(error).__name__) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise malformed(file, str(error), "save it as CSV in UTF-8") from None
    if not rows:
        raise malformed(file, "no row follows its first line")
    return rows


def _numbered(reader: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank."""
    for cells in reader:
        if any(cells):
            yield reader.line_num, cells  # type: ignore[attr-defined]  # of csv.reader


def _header(file: Path, lines: Iterator[tuple[int, list[str]]], tables: Sequence[Sequence[str]]) -> list[str]:
    """Take the lines up to that of the columns."""
    for _, cells in lines:
        columns = [cell.lstrip("#").strip() for cell in cells]
        if any(set(table) <= set(columns) for table in tables):
            return columns
        if not cells[0].startswith("#"):
            wanted = " or ".join(",".join(table) for table in tables)
            raise malformed(file, f"it begins with {', '.join(cells)!r:.80}", f"its first line should be {wanted}")
    raise malformed(file, "it is empty")


def _cells(file: Path, number: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise malformed(
            file,
            f"line {number} has {len(cells)} cells and the table {len(header)} columns",
            "put several labels of a clip into quotes",
        )
    return dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _clip(row: Row) -> TableClip:
    return TableClip(row.line, (row.cells["file"],), _labels(row.cells["labels"]))


def _audioset_clip(file: Path, row: Row) -> TableClip:
    video = row.cells["YTID"]
    try:
        start, end = (float(row.cells[column]) for column in ("start_seconds", "end_seconds"))
        times = [
            f"{start:.0f}",
            f"{start:.0f}_{end:.0f}",
            f"{1000 * start:.0f}",
            f"{1000 * start:.0f}_{1000 * end:.0f}",
        ]
    except ValueError:
        raise malformed(file, f"line {row.line}: start_seconds and end_seconds should be numbers") from None
    names = (video, *(f"{video}_{time}" for time in times))
    # Programs that download put a Y in front, so that no file begins with a dash.
    return TableClip(row.line, (*names, *(f"Y{name}" for name in names)), _labels(row.cells["positive_labels"]))


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.split(",") if label.strip())


def malformed(file: Path, problem: str, fix: str | None = None) -> UserError:
    """Return the error of a table."""
    return UserError(f"{printable(file)}: {printable(problem)}", fix, key="data.dir", on_every_rank=True)
