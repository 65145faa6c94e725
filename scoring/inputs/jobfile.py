"""Reads a job file and says everything that is wrong with it at once."""

import difflib
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.schemas.job import ScoringJob
from nightscore.storage.documents import DocumentBoundsError, DocumentError, read_yaml
from nightscore.storage.store import Store

DEFAULT_JOBS = "deploy/jobs"
"""Where commands and flows look up a job by name, unless `NIGHTSCORE_JOBS` names another folder."""
MAX_BYTES = 1 << 20
SUFFIXES = (".yaml", ".yml", ".json")


def list_jobs(folder: Path) -> list[str]:
    """Names of the job files in a folder, as `load_job` takes them.

    Empty if there is no such folder.
    """
    files = folder.iterdir() if folder.is_dir() else ()
    visible = [path for path in files if not path.name.startswith(".")]
    return sorted({path.stem for path in visible if path.suffix in SUFFIXES})


def load_job(source: str, folder: Path | None = None) -> ScoringJob:
    """The job in a file.

    Args:
        source: Path or URL of a YAML (or JSON) file, or the name of a file in `folder`.
        folder: Where job files are looked up by their name.

    Raises:
        InvalidJobError: It cannot be read, is no YAML, or does not describe a job. All problems
            are named.
    """
    return _load_file(source if folder is None else _find_job(source, folder))


def _find_job(source: str, folder: Path) -> str:
    if "/" in source or source.endswith(SUFFIXES) or Path(source).is_file():
        return source

    for suffix in SUFFIXES:
        path = folder / f"{source}{suffix}"
        if path.is_file():
            return str(path)

    known = list_jobs(folder)
    near = difflib.get_close_matches(source, known, n=3, cutoff=0.5)

    raise InvalidJobError(
        f"There is no job {source}.",
        str(folder),
        expected=f"one of {', '.join(known)}" if known else "a folder with job files",
        found="no such file" + (f"; near: {', '.join(near)}" if near else ""),
        next_step="give one of the names, the path of a job file, "
        "or another folder in NIGHTSCORE_JOBS",
    )


def _load_file(source: str) -> ScoringJob:
    folder, name = posixpath.split(source)
    try:
        content = Store(folder or ".").read_bytes(name)
    except ScoringError as error:
        raise InvalidJobError(
            "The job file cannot be read.",
            source,
            expected="a YAML file in UTF-8",
            found=error.found or error.what,
            next_step="check the path and the file",
        ) from error

    try:
        raw = read_yaml(content, MAX_BYTES)
    except DocumentBoundsError as error:
        raise InvalidJobError(
            "The job file expands to more than a job needs; it was not read.",
            source,
            found=str(error),
            next_step="write it without aliases that repeat or contain each other, "
            "and without deep nesting",
        ) from error
    except DocumentError as error:
        raise InvalidJobError(
            "The job file is no valid YAML.",
            source,
            found=str(error),
            next_step="correct the place that is named; "
            "quote values that begin with % or contain a colon",
        ) from error

    return parse_job(raw, source)


def parse_job(raw: object, source: str = "the job") -> ScoringJob:
    """The job in a mapping, as `load_job` reads it.

    Raises:
        InvalidJobError: All problems are named, unknown keys with the nearest known one.
    """
    if not isinstance(raw, Mapping):
        raise InvalidJobError(
            "The job file does not describe a job.",
            source,
            expected="a mapping with the keys name, model, input, output",
            found="an empty file" if raw is None else type(raw).__name__,
            next_step="write it as in README.md; schemas/job.schema.json lists every key",
        )

    try:
        return ScoringJob.model_validate(dict(raw))
    except ValidationError as error:
        problems: list[str] = []
        for detail in error.errors(include_url=False, include_input=False):
            problems += _problem(detail).splitlines()
        n_problems = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"

        raise InvalidJobError(
            f"The job file has {n_problems}.",
            source,
            problems=problems,
            next_step="correct the file; schemas/job.schema.json gives completion in editors",
        ) from error


def _problem(detail: Mapping[str, Any]) -> str:
    path = tuple(detail["loc"])
    where = ".".join(str(part) for part in path)

    if detail["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return f"{where}: unknown key; {hint}"

    if detail["type"] == "missing":
        return f"{where}: is missing"

    message: str = detail["msg"].removeprefix("Value error, ")

    if where:
        return f"{where}: {message}"

    return message


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    """The keys of the section at a path; none where it is no section."""
    model: type[BaseModel] = ScoringJob
    for part in path:
        stated = model.model_fields[str(part)].annotation
        sections = [option for option in (stated, *get_args(stated)) if _is_section(option)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)
