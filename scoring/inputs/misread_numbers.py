"""Numbers of a job file that mean another number to YAML: `010` is 8, and `1:30` is 90."""

import re
from collections.abc import Iterator

import yaml

from nightscore.inputs.job_fields import field_at
from nightscore.schemas.problem import KeyPath, Problem
from nightscore.storage.documents import compose_yaml

_MAY_OCCUR = re.compile(rb"(?<![\w.])(0[0-7_]|\d[\d_]*:\d)")
"""Job files without such a text, which are nearly all of them, are not walked."""

_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OCTAL = re.compile("([-+]?)0([0-7_]+)")
_SHORT_FORMS: dict[KeyPath, KeyPath] = {("workers",): ("workers", "count")}
"""Sections that a plain number stands for, and the key that it sets."""


def misread_numbers(content: bytes) -> list[Problem]:
    """The problems of numbers that are written in base 8 or 60, which nobody means.

    Where a text belongs, the schema refuses them as it refuses every number.

    Args:
        content: Of a job file that is valid YAML.
    """
    if not _MAY_OCCUR.search(content):
        return []

    problems = []
    for path, text in _plain_numbers(compose_yaml(content), ()):
        problem = _problem(_SHORT_FORMS.get(path, path), text)
        if problem is not None:
            problems.append(problem)
    return problems


def _plain_numbers(node: yaml.Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Where the numbers without quotes stand, each as it is written."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield from _plain_numbers(value, (*path, key.value))

    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _plain_numbers(item, (*path, position))

    elif isinstance(node, yaml.ScalarNode) and node.tag in _NUMBER_TAGS and not node.style:
        yield path, node.value


def _problem(path: KeyPath, text: str) -> Problem | None:
    octal = _OCTAL.fullmatch(text)
    if octal is None and ":" not in text:
        return None

    if "storage_options" in path:
        return Problem(path, "expected quotes around a number that begins with 0 or has a colon")

    field, known_path = field_at(path)
    if not field.is_number or known_path != path:
        return None

    found = f"expected {field.words}; found {text}, which YAML reads"
    if octal is None:
        return Problem(path, f"{found} in base 60; write the number without a colon")

    sign, digits = octal.groups()
    plain = digits.replace("_", "") or "0"
    decimal = plain.lstrip("0") or "0"
    return Problem(path, f"{found} in base 8 as {sign}{int(plain, 8)}; write {sign}{decimal}")
