"""Text from outside, as it may be shown: file names, column names and messages can hold anything."""

import re

_HIDDEN = re.compile(r"[^\x20-\x7e]")


def printable(text: str) -> str:
    """The text on one line, with every character that cannot be seen written as an escape.

    A newline forges lines of a log, an escape character drives a terminal, and a mark of direction turns a name
    around. Letters, digits and signs of all languages stay as they are.
    """
    return _HIDDEN.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def json_printable(text: str) -> str:
    """A JSON document whose strings hold no character that drives a terminal; it says the same.

    Args:
        text: Valid JSON. Its line breaks stay: inside of strings they are escaped already.
    """
    return _HIDDEN.sub(_escape_json, text)


def _escape_json(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable() or character in "\r\n\t":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
