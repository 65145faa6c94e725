"""A problem of a job file: which key it is about, and what is wrong with it."""

from collections.abc import Sequence
from typing import NamedTuple

KeyPath = tuple[str | int, ...]
"""Keys and positions from the top of the file to a value."""


class Problem(NamedTuple):
    """What is wrong with a value of a job file."""

    path: KeyPath
    """Of the value, below the section that found the problem."""
    text: str
    """In words, with what was expected. It does not repeat the key."""
    others: tuple[KeyPath, ...] = ()
    """Further keys that have to do with it. Where one of them is wrong itself, the problem may be
    no problem."""

    def below(self, section: KeyPath) -> "Problem":
        """The same problem, with its keys seen from further up."""
        others = tuple((*section, *path) for path in self.others)
        return Problem((*section, *self.path), self.text, others)


class ProblemsError(ValueError):
    """Several problems of one section, each with its own key."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Keep the problems."""
        super().__init__("\n".join(f"{show_path(path)}: {text}" for path, text, _ in problems))
        self.problems = tuple(problems)


def show_path(path: KeyPath) -> str:
    """The path as people write it: `gates.rows.runs`, `keys[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif text:
            text += f".{part}"
        else:
            text = part
    return text
