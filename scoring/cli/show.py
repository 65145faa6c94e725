"""What the command prints: tables, documents, errors."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nightscore.schemas.text import counted as counted
from nightscore.schemas.text import printable

WIDE = 200
"""Columns if the output is not a terminal: folded tables are of no use in a file."""
MIN_COLUMN_WIDTH = 7
"""Of a table on average. Narrower ones fold every date and every number."""

MAX_NAME_WIDTH = 14
"""Names of rows up to this width, such as dates, are not folded."""

FOLDED_ROWS = 500
"""In longer tables, lines that are too long for the terminal are left to it."""


class _Terminal(Console):
    """Prints text as it is: no name in it controls the terminal, forges a line or is markup."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(
            stderr=stderr, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False
        )

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def print_lines(self, text: str) -> None:
        """Print a message of several lines."""
        for line in text.split("\n"):
            self.print(line)


out = _Terminal(width=None if sys.stdout.isatty() else WIDE)
err = _Terminal(stderr=True)


def as_row(record: Any) -> dict[str, Any]:
    """The fields of a flat record. `dataclasses.asdict` would copy each value."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def print_json(document: object) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print a table of these columns of the rows; in a narrow terminal one line a value."""
    if out.width < MIN_COLUMN_WIDTH * len(columns):
        _print_records(title, columns, rows)
        return

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    if len(rows) > FOLDED_ROWS:
        _print_long(table, columns, rows)
        return

    for column in columns:
        is_whole = column == columns[0] and _has_short_names(column, rows)
        table.add_column(column, overflow="fold", no_wrap=is_whole)

    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    out.print(table)


def _has_short_names(column: str, rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the column's values need no folding, as dates do not."""
    widths = (cell_len(printable(str(row[column]))) for row in rows)
    return max(widths, default=0) <= MAX_NAME_WIDTH


def _print_long(table: Table, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print the same lines, unfolded. Rich would take 0.5 ms a row."""
    texts = [[printable(str(row[column])) for row in rows] for column in columns]

    padded = []
    for column, cells in zip(columns, texts, strict=True):
        width = max(map(cell_len, [column, *cells]))
        table.add_column(column, min_width=width, no_wrap=True)
        padded.append([cell + " " * (width - cell_len(cell)) for cell in cells])

    out.print(table)
    lines = ("  ".join(cells) for cells in zip(*padded, strict=True))
    out.file.write("".join(f"{line}\n" for line in lines))


def _print_records(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Print each row as a block of lines, without empty values."""
    out.print(title)
    width = max(map(len, columns))
    for row in rows:
        out.print("")
        for column in columns:
            if str(row[column]):
                out.print(f"{column:<{width}}  {row[column]}")


def show_size(n_bytes: int) -> str:
    """A size for people, such as 3.2 MiB."""
    if n_bytes < 1024:
        return f"{n_bytes:,} B"

    size = n_bytes / 1024
    for unit in ("KiB", "MiB"):
        if size < 1024:
            return f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def show_count(n_rows: int | None) -> str:
    """A number of rows for people; empty if it is not known."""
    if n_rows is None:
        return ""
    return f"{n_rows:,}"
