"""Variables and templates of shells and of other tools, which a job file leaves as they are.

`output: $HOME/lake` would publish into a folder that is named `$HOME`. So they are refused.
"""

import re

_MAX_FOUND = 10
"""Of each kind, in one value."""

_SHELL = re.compile(r"(?<![^/:=])\$(?P<name>[A-Z_][A-Z0-9_]*)")
"""`$HOME` at the beginning of a part of a path. Names in lower case are left to folders."""
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_WINDOWS = re.compile(r"%(?P<name>[A-Za-z][A-Za-z0-9_]*)%(?![0-9A-Fa-f]{2})")
"""`%HOME%`. What follows the last sign tells it from a URL's `%C3%A9`."""
_ESCAPE = re.compile(r"(?<![^/:=])\$(?=\$[A-Z_])")
"""The first sign of `$$HOME`, which stands for a folder that is named `$HOME`."""


def find_templates(text: str) -> list[str]:
    """What is wrong with a path that has the variables or templates of another tool."""
    problems = []

    for match in list(_SHELL.finditer(text))[:_MAX_FOUND]:
        name = match["name"]
        problems.append(
            f"${name} is not replaced; expected ${{{name}}} for the environment variable, or "
            f"$${name} for a folder of that name"
        )

    for match in list(_WINDOWS.finditer(text))[:_MAX_FOUND]:
        name = match["name"]
        problems.append(
            f"%{name}% is not replaced; expected ${{{name}}} for the environment variable"
        )

    if _JINJA.search(text):
        problems.append(
            "templates such as {{ name }} are not filled in; expected the path itself, or "
            "${NAME} of an environment variable"
        )

    return list(dict.fromkeys(problems))


def without_escapes(text: str) -> str:
    """The text with `$NAME` for `$$NAME`."""
    return _ESCAPE.sub("", text)
