"""Sees at a glance, before anything is imported, that a call of a scoring command is right."""

from collections.abc import Sequence

FLAGS = frozenset({"--force", "--json", "--verbose", "-v", "--dry-run", "--new-model"})
"""Options of the scoring commands. A call with another one is looked at more closely first."""
OPTIONS = frozenset(
    {
        *("--from", "--to", "--mode", "--order", "--model", "--max-partitions", "--cache-dir"),
        "--timeout",
    }
)
"""Options of theirs that a value follows."""


def job_of(words: Sequence[str]) -> str | None:
    """The first argument of a call, which is the job; None if an option in it is not known."""
    arguments: list[str] = []
    is_value = False

    for word in words:
        name, equals, _ = word.partition("=")
        if is_value:
            is_value = False
        elif name in OPTIONS:
            is_value = not equals
        elif word.startswith("-") and word not in FLAGS:
            return None
        elif not word.startswith("-"):
            arguments.append(word)

    return arguments[0] if arguments else None
