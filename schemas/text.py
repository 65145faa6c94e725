"""Makes text from outside safe to show: names and messages can hold any character."""

import re

_HIDDEN = re.compile(r"[^\x20-\x7e]")


def printable(text: str) -> str:
    """The text on one line, with every invisible character written as an escape.

    A newline forges lines of a log, an escape character controls a terminal, and a direction mark
    reverses a name. Letters, digits and signs of all languages stay as they are.
    """
    return _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def json_printable(text: str) -> str:
    """The same JSON document, without characters that control a terminal.

    Args:
        text: Valid JSON. Its line breaks stay; inside of strings they are already escaped.
    """
    return _HIDDEN.sub(_escape_json, text)


def _escape_json(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() or character in "\r\n\t":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def is_utf8(name: str) -> bool:
    """Whether the name of a file is UTF-8. Python keeps other bytes as surrogate halves."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def counted(n_things: int, noun: str) -> str:
    """So many things: `1 partition`, `2 partitions`."""
    return f"{n_things:,} {noun}" if n_things == 1 else f"{n_things:,} {noun}s"


def show_seconds(seconds: float) -> str:
    """A duration for people: 2.5 s, 45 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"

    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
