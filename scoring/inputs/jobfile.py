"""Reads a job file and says everything that is wrong with it at once."""

import difflib
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.job_problems import describe_errors, describe_value
from nightscore.schemas.job import ScoringJob
from nightscore.storage.document_places import DocumentPlaces
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
            "indent with spaces, and quote values that begin with % or contain a colon or braces",
        ) from error

    return _parse(raw, source, content)


def parse_job(raw: object, source: str = "the job") -> ScoringJob:
    """The job in a mapping, as `load_job` reads it.

    Raises:
        InvalidJobError: All problems are named, unknown keys with the nearest known one.
    """
    return _parse(raw, source, None)


def _parse(raw: object, source: str, content: bytes | None) -> ScoringJob:
    """The job in a mapping that was read from `content`, if from a file."""
    if not isinstance(raw, Mapping):
        raise InvalidJobError(
            "The job file does not describe a job.",
            source,
            expected="a mapping with the keys name, model, input, output",
            found="an empty file" if raw is None else describe_value(raw),
            next_step="write it as in README.md; schemas/job.schema.json lists every key",
        )

    try:
        return ScoringJob.model_validate(dict(raw))
    except ValidationError as error:
        lines = describe_errors(error, (), raw, raw, _places(content))
        raise _invalid(lines, source) from error


def _places(content: bytes | None) -> DocumentPlaces | None:
    """Where the keys of a file stand. Only errors need that."""
    return None if content is None else DocumentPlaces(content)


def _invalid(problems: Sequence[str], source: str) -> InvalidJobError:
    n_problems = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InvalidJobError(
        f"The job file has {n_problems}.",
        source,
        problems=problems,
        next_step="correct the file; schemas/job.schema.json gives completion in editors",
    )
