"""Says what is wrong with a job file: where, what was expected, what was found, what was meant.

Values are quoted only where they cannot be secrets: numbers, and texts where a number, a choice or
the job's name belongs. Nothing below `storage_options` is quoted.
"""

import datetime
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nightscore.inputs.job_fields import Field, field_at, sections
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.problem import KeyPath, Problem, ProblemsError, show_path
from nightscore.storage.document_places import DocumentPlaces, Place, Written

MAX_PROBLEMS = 100
"""Further ones are only counted. A file may have as many unknown keys as it has keys."""

MAX_QUOTED = 40
"""Characters of a value that a message repeats."""

_ALMOST_MODEL = re.compile(r"(?:models:)?/*([^/@:\s]+)(/\d+|@[^/@\s]+)")

_UNIT = re.compile("[A-Za-z%]")

_SYNONYMS = {
    "path": "uri",
    "location": "uri",
    "folder": "uri",
    "table": "uri",
    "primary_key": "keys",
}
"""What other tools call a key."""


@dataclass(frozen=True, slots=True)
class _Located:
    """A problem with its place in the file."""

    place: Place | None
    path: KeyPath
    text: str

    def __str__(self) -> str:
        line = f"line {self.place.line}, column {self.place.column}: " if self.place else ""
        name = f"{show_path(self.path)}: " if self.path else ""
        return f"{line}{name}{self.text}"


def describe_errors(
    error: ValidationError,
    others: Sequence[Problem],
    raw: Mapping[Any, Any],
    expanded: Mapping[Any, Any],
    places: DocumentPlaces | None,
) -> list[str]:
    """All problems in the order of the file, each with its line and column.

    Args:
        error: What the schema refuses.
        others: Problems that were found before the schema was asked.
        raw: The job as it is written.
        expanded: The same with its references expanded, as the schema saw it.
        places: Of the file; None if the job did not come from one.
    """
    details = error.errors(include_url=False)
    shown = details[:MAX_PROBLEMS]

    found = list(_located(others, places))
    for detail in shown:
        found += _problems(detail, raw, places)

    wrong = [problem.path for problem in others] + [_path_of(detail) for detail in shown]
    if len(shown) == len(details):
        found += _located(_hidden_problems(expanded, wrong), places)

    lines = _lines(found)
    if len(shown) < len(details):
        lines.append(f"and {len(details) - len(shown):,} more")
    return lines


def _path_of(detail: Mapping[str, Any]) -> KeyPath:
    """The path of a wrong value, or of an unknown key."""
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return tuple(detail["loc"])
    return field_at(tuple(detail["loc"]))[1]


def _hidden_problems(job: Mapping[Any, Any], wrong: Sequence[KeyPath]) -> Iterator[Problem]:
    """Problems of several keys together, which the schema looks for once each key is right.

    It is asked again without the wrong ones. What has to do with these is left out.
    """
    rest = _without(job, wrong)
    required = {"name": "x", "model": "models:/x/1", "input": "x", "output": "y"}

    try:
        ScoringJob.model_validate({**required, **rest})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            for problem in _stated_problems(detail):
                about = (problem.path, *problem.others)
                if not any(_overlap(path, other) for path in about for other in wrong):
                    yield problem


def _without(raw: Mapping[Any, Any], paths: Sequence[KeyPath]) -> dict[Any, Any]:
    """The mapping without the values at these paths, or the list or short form around one."""
    rest = dict(raw)
    for path in paths:
        _remove(rest, path)

    for key in ("input", "output"):
        if isinstance(rest.get(key), Mapping):
            rest[key] = {"uri": key, **rest[key]}
    return rest


def _remove(mapping: dict[Any, Any], path: KeyPath) -> None:
    """Remove a value. The mappings around it are replaced, since they may be in use elsewhere."""
    for part in path[:-1]:
        section = mapping.get(part)
        if not isinstance(section, Mapping):
            mapping.pop(part, None)
            return
        copied = dict(section)
        mapping[part] = copied
        mapping = copied

    if path:
        mapping.pop(path[-1], None)


def _overlap(path: KeyPath, other: KeyPath) -> bool:
    """Whether one of the paths contains the other."""
    shared = min(len(path), len(other))
    return path[:shared] == other[:shared]


def describe_problems(problems: Iterable[Problem], places: DocumentPlaces | None) -> list[str]:
    """Problems that the schema does not know of, each with its line and column."""
    return _lines(_located(problems, places))


def _lines(problems: Iterable[_Located]) -> list[str]:
    """The problems in the order of the file, each once."""
    # Python sorts stably: what has no place stays in the schema's order, at the end.
    last = Place(1 << 62, 0)
    in_order = sorted(problems, key=lambda problem: problem.place or last)
    return list(dict.fromkeys(map(str, in_order)))


def describe_value(value: Any) -> str:
    """What kind of value this is."""
    if value is None:
        return "nothing"

    kinds: tuple[tuple[Any, str], ...] = (
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "a text"),
        (datetime.date, "a date"),
        (list | tuple, "a list"),
        (Mapping, "a mapping"),
    )
    return next(
        (words for kind, words in kinds if isinstance(value, kind)), "another kind of value"
    )


def _located(problems: Iterable[Problem], places: DocumentPlaces | None) -> Iterator[_Located]:
    for path, text, _ in problems:
        yield _Located(places.of_value(path) if places else None, path, text)


def _problems(
    detail: Mapping[str, Any], raw: Mapping[Any, Any], places: DocumentPlaces | None
) -> Iterator[_Located]:
    """The problems behind one of the schema's errors, whose own texts are never shown."""
    given_path: KeyPath = tuple(detail["loc"])
    field, path = field_at(given_path)
    kind, value = detail["type"], detail["input"]

    if kind in ("extra_forbidden", "invalid_key"):
        place = places.of_key(given_path) if places else None
        named = (*given_path[:-1], str(given_path[-1]))
        yield _Located(place, named, _unknown_key(named))
    elif kind == "missing":
        place = places.of_key(path[:-1]) if places else None
        yield _Located(place, path, f"is missing; expected {field.words}")
    elif kind == "value_error":
        yield from _located(
            [_add_found(stated, raw) for stated in _stated_problems(detail)], places
        )
    elif given_path[-1:] == ("[key]",):
        place = places.of_key(given_path[:-1]) if places else None
        text = "expected a name as a key; found " + ("an empty text" if value == "" else "another")
        yield _Located(place, path[:-1], text)
    else:
        written = places.written(path) if places else None
        place = places.of_value(path) if places else None
        yield _Located(place, path, _wrong_value(field, path, value, written))


def _stated_problems(detail: Mapping[str, Any]) -> list[Problem]:
    """The problems that a validator of the schema has stated itself."""
    if detail["type"] != "value_error":
        return []

    _, path = field_at(tuple(detail["loc"]))
    cause = detail["ctx"]["error"]
    stated = cause.problems if isinstance(cause, ProblemsError) else [Problem((), str(cause))]
    return [problem.below(path) for problem in stated]


def _add_found(problem: Problem, raw: Mapping[Any, Any]) -> Problem:
    """The problem with what was found, if it is about the model, whose URI is no secret."""
    model = raw.get("model")
    if problem.path != ("model",) or not isinstance(model, str) or len(model) > MAX_QUOTED:
        return problem

    text = f"{problem.text}; found {model or 'an empty text'}"
    match = _ALMOST_MODEL.fullmatch(model)
    if match:
        text += f"; {_meant(f'models:/{match[1]}{match[2]}')}"
    return Problem(problem.path, text)


def _unknown_key(path: KeyPath) -> str:
    section, key = path[:-1], str(path[-1])
    field, _ = field_at(section)
    known = list(field.section.model_fields) if field.section else []

    homes = [other for other in sections() if key in _keys_of(other)]
    # What is a key elsewhere is rather in the wrong place than misspelt.
    cutoff = 0.8 if len(homes) == 1 else 0.5
    near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=cutoff)

    synonym = _SYNONYMS.get(key.lower(), "")
    suggestions = [synonym] if synonym in known else near

    if len(homes) == 1:
        place = f"below {show_path(homes[0])}" if homes[0] else "at the top, without indentation"
        suggestions.append(f"{key} {place}")

    if suggestions:
        return f"unknown key; did you mean {', or '.join(suggestions)}?"
    return f"unknown key; known keys: {', '.join(known)}"


def _keys_of(section: KeyPath) -> list[str]:
    field, _ = field_at(section)
    return list(field.section.model_fields) if field.section else []


def _wrong_value(field: Field, path: KeyPath, value: Any, written: Written | None) -> str:
    found = _found(field, path, value, written)
    hint = _hint(field, path, value, written)
    return f"expected {field.words}; found {found}{hint and f'; {hint}'}"


def _found(field: Field, path: KeyPath, value: Any, written: Written | None) -> str:
    """What stands there, in words, and quoted where it can be no secret."""
    if value is None or value == "":
        return "nothing" if value is None else "an empty text"

    shown = _quoted(field, path, value, written)
    if shown is None:
        return describe_value(value)

    if isinstance(value, str):
        return f"the text {shown}"
    if isinstance(value, bool) and shown.lower() not in ("true", "false"):
        return f"{shown}, which YAML reads as {str(value).lower()}"
    if isinstance(value, datetime.date):
        return f"{shown}, which YAML reads as a date"
    if isinstance(value, int | float) and ":" in shown:
        return f"{shown}, which YAML reads as the number {value}"
    return shown


def _quoted(field: Field, path: KeyPath, value: Any, written: Written | None) -> str | None:
    """The value as it is written; None if it is not to be repeated."""
    if "storage_options" in path or not isinstance(value, bool | int | float | str | datetime.date):
        return None

    is_closed = field.is_number or bool(field.choices) or field.type is bool or path == ("name",)
    if isinstance(value, str) and not is_closed:
        return None

    text = written.text if written and written.text is not None else _as_yaml(value)
    return text if len(text) <= MAX_QUOTED else None


def _as_yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hint(field: Field, path: KeyPath, value: Any, written: Written | None) -> str:
    """What to write instead, where that is clear. Empty: it is not."""
    if field.choices:
        return _near_choice(field.choices, value)

    if path == ("name",) and isinstance(value, str):
        return _meant(re.sub(r"[^A-Za-z0-9_.-]+", "_", value).strip("_.-")[:100])

    if field.is_text and isinstance(value, bool | int | float | datetime.date):
        shown = _quoted(field, path, value, written)
        return "put it into quotes" + (f': "{shown}"' if shown else "")

    if field.is_number:
        as_written = written.text or "" if written else ""
        has_unit = isinstance(value, int | float) and _UNIT.search(as_written)
        return "" if has_unit else _near_number(field, value)

    if field.section and isinstance(value, list):
        return "write its keys without dashes in front"
    return ""


def _meant(text: str) -> str:
    return f"did you mean {text}?" if text else ""


def _near_choice(choices: tuple[str, ...], value: Any) -> str:
    near = difflib.get_close_matches(str(value).lower(), choices, n=1, cutoff=0.5)
    return _meant(near[0] if near else "")


def _near_number(field: Field, value: Any) -> str:
    is_size = "GiB" in field.words
    is_share = "%" in field.words

    if isinstance(value, str):
        plain = value.strip().replace(" ", "").replace("'", "").replace("_", "")
        if re.fullmatch(r"\d{1,3}(,\d{3})+", plain):
            return _meant(plain.replace(",", ""))
        if re.fullmatch(r"\d+,\d+%?", plain):
            return _meant(plain.replace(",", "."))
        return _meant(plain if plain.isdigit() else "")

    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    if is_size and 0 < value < 1 << 20:
        return _meant(f"{value:g}GiB" if value < 64 else f"{value:g}MiB")
    if is_share and 1 < value <= 100:
        return _meant(f"{value:g}%")
    return ""
