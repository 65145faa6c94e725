"""Tables and pages as a notebook shows them, and the same tables as text."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from nightscore.schemas.text import printable

PAGE_HEIGHT_PX = 640
"""Of a page inside a notebook. It scrolls."""
LEFT = 'style="text-align: left"'
"""Jupyter sets cells to the right."""


def html_frame(page: str, title: str) -> str:
    """A page in a frame of its own, so that its styles and the notebook's do not meet.

    No script runs in it. It has the notebook's origin, since browsers may leave a frame without one
    blank.
    """
    style = f"width: 100%; height: {PAGE_HEIGHT_PX}px; border: 0"
    return (
        f'<iframe srcdoc="{escape(page)}" title="{escape(title)}" style="{style}" '
        'sandbox="allow-same-origin"></iframe>'
    )


def save_page(page: str, path: str | Path) -> Path:
    """Write a page to a file; returns its path."""
    target = Path(path)
    target.write_text(page, encoding="utf-8")
    return target


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a caption. Texts in cells may have several lines."""
    head = "".join(f"<th {LEFT}>{escape(name)}</th>" for name in header)
    lines = []
    for row in rows:
        cells = "".join(f"<td {LEFT}>{_html(cell)}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")

    heading = f"<thead><tr>{head}</tr></thead>" if head else ""
    caption = f"<caption><b>{escape(title)}</b></caption>"
    return f"<table>{caption}{heading}<tbody>{''.join(lines)}</tbody></table>"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The columns below each other, as wide as their longest cell."""
    shown = [list(header), *rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]

    lines = []
    for row in shown:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())

    return "\n".join(lines)


def _html(text: str) -> str:
    """A text of one line or several."""
    lines = [escape(printable(line)) for line in text.split("\n")]
    return lines[0] if len(lines) == 1 else f"<pre>{'<br>'.join(lines)}</pre>"
