"""Says in plain words why a document is no YAML: where, and what is usually wrong there.

The parser names the place where it gave up and what it expected of YAML's grammar. The cause is
often a line earlier, and always simpler. Keys are quoted here, values never: they may be secrets.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import yaml

_KEY = r"[ \t]*(?:- +)?[\"']?(?P<key>[A-Za-z_][\w.-]*)[\"']?"
_NO_SPACE = re.compile(rf"{_KEY}:(?=[^\s/])")
_EQUALS = re.compile(rf"{_KEY} *=")
_COLON_IN_VALUE = re.compile(rf"{_KEY}: +[^\"'\[{{#].*?(?P<colon>:)(?: |$)")
_HAS_VALUE = re.compile(rf"{_KEY}: +[^#\s]")
_SPECIAL = "@`%"
"""A value cannot begin with these."""


class Cause(NamedTuple):
    """What is wrong, at a position that is counted from 1."""

    line: int
    column: int
    words: str


@dataclass(frozen=True, slots=True)
class _Failure:
    """Where the parser gave up, and in which words."""

    lines: Sequence[str]
    problem: str
    line: int
    column: int
    begun: tuple[int, int]
    """Line and column of what was being read, such as a quoted text. All counted from 0."""

    @property
    def text(self) -> str:
        """The line of the problem."""
        return self.lines[self.line] if self.line < len(self.lines) else ""

    @property
    def line_above(self) -> int:
        """The last line before that one that is neither empty nor a comment."""
        for number in range(min(self.line, len(self.lines)) - 1, -1, -1):
            if self.lines[number].strip() and not self.lines[number].lstrip().startswith("#"):
                return number
        return 0

    def at_problem(self, words: str) -> Cause:
        return Cause(self.line + 1, self.column + 1, words)

    def at_beginning(self, words: str) -> Cause:
        return Cause(self.begun[0] + 1, self.begun[1] + 1, words)


def find_cause(error: yaml.MarkedYAMLError, text: str) -> Cause | None:
    """The likely cause of a syntax error. None: it is not one of the usual ones."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return None

    begun = error.context_mark or mark
    failure = _Failure(
        text.splitlines(),
        ", ".join(part for part in (error.context, error.problem) if part),
        mark.line,
        mark.column,
        (begun.line, begun.column),
    )
    causes = (rule(failure) for rule in _RULES)
    return next((cause for cause in causes if cause is not None), None)


def describe_json_slip(error: json.JSONDecodeError) -> str:
    """What people usually do wrong at the place of an error of JSON. Empty: something else."""
    rest = error.doc[error.pos :].lstrip()
    before = error.doc[: error.pos].rstrip()

    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments; remove it, or name the file .yaml and begin comments with #"
    if rest[:1] in ("}", "]") and before.endswith(","):
        return f"a comma stands before the closing {rest[0]}; remove it"
    if rest.startswith("'"):
        return "JSON takes double quotes only"
    return ""


def _tab(failure: _Failure) -> Cause | None:
    indent = failure.text[: len(failure.text) - len(failure.text.lstrip())]
    if "\t" not in indent:
        return None
    words = "this line is indented with a tab; use spaces"
    return Cause(failure.line + 1, indent.index("\t") + 1, words)


def _open_quote(failure: _Failure) -> Cause | None:
    if "quoted scalar" not in failure.problem or "end of stream" not in failure.problem:
        return None
    return failure.at_beginning("the quote that opens here is never closed")


def _unknown_escape(failure: _Failure) -> Cause | None:
    if "escape character" not in failure.problem:
        return None
    return failure.at_beginning(
        "a backslash in double quotes begins an escape, and this one is unknown; use single quotes"
    )


def _open_bracket(failure: _Failure) -> Cause | None:
    brackets = {"flow sequence": "[", "flow mapping": "{"}
    for kind, bracket in brackets.items():
        if f"parsing a {kind}" in failure.problem:
            closing = "]" if bracket == "[" else "}"
            return failure.at_beginning(
                f"the {bracket} that opens here has no {closing} in its place; or a comma is "
                "missing, or a value with brackets or braces needs quotes"
            )
    return None


def _no_space_after_colon(failure: _Failure) -> Cause | None:
    for number in (failure.line, failure.line_above):
        line = failure.lines[number] if number < len(failure.lines) else ""
        if found := _NO_SPACE.match(line):
            words = f"a space is missing after the colon of {found['key']}"
            return Cause(number + 1, found.end() + 1, words)
        if found := _EQUALS.match(line):
            words = f"{found['key']} has an equals sign where YAML takes a colon and a space"
            return Cause(number + 1, found.end(), words)
    return None


def _unquoted_colon(failure: _Failure) -> Cause | None:
    found = _COLON_IN_VALUE.match(failure.text)
    if "mapping values" not in failure.problem or not found:
        return None
    words = f"the value of {found['key']} has a colon and a space in it; put the value in quotes"
    return Cause(failure.line + 1, found.start("colon") + 1, words)


def _too_deep(failure: _Failure) -> Cause | None:
    above = failure.lines[failure.line_above]
    is_deeper = _indent_of(failure.text) > _indent_of(above)
    if "mapping values" not in failure.problem or not (is_deeper and _HAS_VALUE.match(above)):
        return None
    words = "this line is indented more than the one above, which has a value already"
    return Cause(failure.line + 1, _indent_of(failure.text) + 1, words)


def _item_among_keys(failure: _Failure) -> Cause | None:
    is_block = "expected key" in failure.problem
    if not is_block or not failure.text.lstrip().startswith("- "):
        return None
    words = "an item of a list stands where a key is expected; indent all items of a list alike"
    return Cause(failure.line + 1, _indent_of(failure.text) + 1, words)


def _uneven_indent(failure: _Failure) -> Cause | None:
    is_first = failure.column <= _indent_of(failure.text)
    if "block mapping" not in failure.problem or not is_first or not failure.text.strip():
        return None
    return failure.at_problem("this line is indented like no line above; indent keys alike")


def _after_the_value(failure: _Failure) -> Cause | None:
    if "block mapping" not in failure.problem or not failure.text.strip():
        return None
    return failure.at_problem(
        "text follows the closing quote or bracket of a value; put the whole value in one pair of "
        "quotes"
    )


def _special_character(failure: _Failure) -> Cause | None:
    character = failure.text[failure.column : failure.column + 1]
    begins = character in _SPECIAL and "cannot start any token" in failure.problem
    if begins and character:
        return failure.at_problem(f"a value cannot begin with {character}; put the value in quotes")
    if "directive" in failure.problem:
        return failure.at_problem("a line cannot begin with %; put the text in quotes")
    return None


def _list_as_key(failure: _Failure) -> Cause | None:
    if "unhashable key" not in failure.problem or "{{" in failure.text:
        return None
    return failure.at_problem("a list or a mapping stands where a key is expected; write a name")


def _of_yaml_s_own(failure: _Failure) -> Cause | None:
    for part, words in _BY_PROBLEM.items():
        if part in failure.problem:
            return failure.at_problem(words)
    return None


def _not_a_key(failure: _Failure) -> Cause | None:
    if "simple key" not in failure.problem:
        return None
    words = "this line has no key with a colon and a space; write key: value"
    return Cause(failure.line_above + 1, _indent_of(failure.lines[failure.line_above]) + 1, words)


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


_BY_PROBLEM = {
    "undefined alias": "a value that begins with * stands for an anchor, and there is none of this "
    "name; put the value in quotes",
    "scanning an alias": "a value cannot begin with * alone; put the value in quotes",
    "scanning an anchor": "a value cannot begin with & alone; put the value in quotes",
    "constructor for the tag": "a value that begins with ! has a tag, and this one is unknown; put "
    "the value in quotes",
    "unhashable key": "{{ opens a mapping in a mapping; put the value in quotes. Templates are not "
    "filled in",
    "single document": "a second document begins here; keep one in a file, without ---",
    "block scalar": "nothing may follow | or > on its line; put the value in quotes",
}
_RULES: tuple[Callable[[_Failure], Cause | None], ...] = (
    _tab,
    _open_quote,
    _unknown_escape,
    _open_bracket,
    _list_as_key,
    _of_yaml_s_own,
    _special_character,
    _no_space_after_colon,
    _unquoted_colon,
    _too_deep,
    _not_a_key,
    _item_among_keys,
    _uneven_indent,
    _after_the_value,
)
"""The first that applies is told."""
