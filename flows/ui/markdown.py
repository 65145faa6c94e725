"""Puts texts from outside into Markdown, so that none is taken for Markdown or HTML."""

import re

from nightscore.schemas.text import printable

_ESCAPES = {ord(character): f"\\{character}" for character in "&|<>`*[]\\~"}
"""With a backslash, since Prefect's first UI shows entities such as `&#62;` as they are."""


def escaped(text: str) -> str:
    """The text for a sentence, a heading or a table cell."""
    text = printable(" ".join(text.split()))
    return text.translate(_ESCAPES)


def prose(text: str) -> str:
    """The text for a sentence, as code where it is between backticks, as commands are.

    Only if all renderers pair the backticks alike: they are even, and none is beside another.
    """
    text = printable(" ".join(text.split()))
    parts = text.split("`")

    if "``" in text or len(parts) % 2 == 0:
        return text.translate(_ESCAPES)

    for index, part in enumerate(parts):
        is_command = index % 2 == 1
        parts[index] = code(part) if is_command else part.translate(_ESCAPES)

    return "".join(parts)


def code(text: str) -> str:
    """The text as inline code; as escaped text if it would end the code or a table cell."""
    text = printable(text)
    if "`" in text or "|" in text:
        return escaped(text)
    return f"`{text}`"


def fenced(text: str) -> list[str]:
    """The lines of a code block, between fences that no line of the text can close."""
    longest_run = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return [fence, *map(printable, text.split("\n")), fence]
