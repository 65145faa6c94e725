"""Says what is wrong with a job file: where, what was expected, what was found, what was meant."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from nightscore.inputs.job_fields import field_at
from nightscore.inputs.job_values import JobValue, describe_value, near_model
from nightscore.inputs.unknown_keys import describe_unknown_key, wrapped_keys
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.problem import KeyPath, Problem, ProblemsError, show_path
from nightscore.storage.document_positions import DocumentPositions, Position

MAX_PROBLEMS = 100
"""Further ones are only counted. A file may have as many unknown keys as it has keys."""

MAX_KEY = 200
"""Characters of a key, with those around it, that a message shows."""

_UNKNOWN_KEY = ("extra_forbidden", "invalid_key")
"""The schema's errors for keys that it does not have."""


@dataclass(frozen=True, slots=True)
class _Located:
    """A problem with its position in the file."""

    position: Position | None
    path: KeyPath
    text: str

    def __str__(self) -> str:
        parts = [self.text]
        if self.path:
            name = show_path(self.path)
            parts.insert(0, name if len(name) <= MAX_KEY else f"{name[:MAX_KEY]}...")
        if self.position:
            parts.insert(0, f"line {self.position.line}, column {self.position.column}")
        return ": ".join(parts)


def describe_errors(
    error: ValidationError,
    others: Sequence[Problem],
    raw: Mapping[Any, Any],
    expanded: Mapping[Any, Any],
    positions: DocumentPositions,
) -> list[str]:
    """All problems in the order of the file, each with its line and column.

    Args:
        error: What the schema refuses.
        others: Problems that were found before the schema was asked.
        raw: The job as it is written.
        expanded: The same with its references expanded, as the schema saw it.
        positions: Of the file. Those of an empty document, if the job did not come from a file.
    """
    details = error.errors(include_url=False)
    shown = details[:MAX_PROBLEMS]

    found = list(_located(others, positions))
    told = {problem.path for problem in others}
    told |= {(key,) for key in wrapped_keys(raw)}
    for detail in shown:
        if _path_of(detail) not in told:
            found += _problems(detail, raw, positions)

    wrong = [problem.path for problem in others] + [_path_of(detail) for detail in shown]
    if len(shown) == len(details):
        found += _located(_hidden_problems(expanded, wrong), positions)

    lines = _lines(found)
    if len(shown) < len(details):
        lines.append(f"and {len(details) - len(shown):,} more")
    return lines


def _path_of(detail: Mapping[str, Any]) -> KeyPath:
    """The path of a wrong value, or of an unknown key."""
    path: KeyPath = tuple(detail["loc"])
    return path if detail["type"] in _UNKNOWN_KEY else field_at(path)[1]


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


def describe_problems(problems: Iterable[Problem], positions: DocumentPositions) -> list[str]:
    """Problems that the schema does not know of, each with its line and column."""
    return _lines(_located(problems, positions))


def _lines(problems: Iterable[_Located]) -> list[str]:
    """The problems in the order of the file, each once."""
    # Python sorts stably: what has no position stays in the schema's order, at the end.
    last = Position(1 << 62, 0)
    in_order = sorted(problems, key=lambda problem: problem.position or last)
    return list(dict.fromkeys(map(str, in_order)))


def _located(problems: Iterable[Problem], positions: DocumentPositions) -> Iterator[_Located]:
    for path, text, _ in problems:
        yield _Located(positions.of_value(path), path, text)


def _problems(
    detail: Mapping[str, Any], raw: Mapping[Any, Any], positions: DocumentPositions
) -> Iterator[_Located]:
    """The problems behind one of the schema's errors, whose own texts are never shown."""
    given_path: KeyPath = tuple(detail["loc"])
    field, path = field_at(given_path)
    kind, value = detail["type"], detail["input"]

    if kind in _UNKNOWN_KEY:
        named = (*given_path[:-1], str(given_path[-1]))
        yield _Located(positions.of_key(given_path), named, describe_unknown_key(named, raw))
    elif kind == "missing":
        text = f"is missing; expected {field.words}"
        yield _Located(positions.of_key(path[:-1]), path, text)
    elif kind == "value_error":
        stated = [_add_found(problem, raw) for problem in _stated_problems(detail)]
        yield from _located(stated, positions)
    elif given_path[-1:] == ("[key]",):
        text = f"expected a name as a key; found {describe_value(value)}"
        yield _Located(positions.of_key(given_path[:-1]), path[:-1], text)
    else:
        wrong = JobValue(field, path, value, positions.written(path))
        yield _Located(positions.of_value(path), path, wrong.describe())


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
    if problem.path != ("model",) or not isinstance(model, str):
        return problem
    return Problem(problem.path, f"{problem.text}{near_model(model)}")
