"""Names and messages from outside, in Markdown: shown as they are, and never as Markdown or HTML."""

import re

from nightscore.schemas.text import printable

_MEANS_SOMETHING = "&|<>`*[]\\~"


def escaped(text: str) -> str:
    """In a sentence, a heading or a table's cell."""
    text = printable(" ".join(text.split()))
    return "".join(f"&#{ord(c)};" if c in _MEANS_SOMETHING else c for c in text)


def code(text: str) -> str:
    """As code within a line; as escaped text where it holds what would end the code, or a table's cell."""
    text = printable(text)
    return escaped(text) if "`" in text or "|" in text else f"`{text}`"


def fenced(text: str) -> list[str]:
    """The lines of a block of code, between fences that no line of the text can close."""
    longest_run = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return [fence, *map(printable, text.split("\n")), fence]
