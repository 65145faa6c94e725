"""Reads a job file and says everything that is wrong with it at once."""

import difflib
import logging
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from nightscore.errors import InvalidJobError, ScoringError
from nightscore.inputs.job_document import is_json, read_document
from nightscore.inputs.job_folder import folder_of
from nightscore.inputs.job_lookup import (
    find_job,
    is_job_name,
    near_files,
    other_spelling,
    split_label,
)
from nightscore.inputs.job_problems import describe_errors, describe_problems
from nightscore.inputs.job_references import expand_references
from nightscore.inputs.job_values import describe_value
from nightscore.inputs.misread_numbers import misread_numbers
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from nightscore.storage.document_positions import DocumentPositions
from nightscore.storage.documents import (
    DocumentBoundsError,
    DocumentError,
    json_as_yaml,
)
from nightscore.storage.store import Store

logger = logging.getLogger("nightscore")


def load_job(source: str, folders: Sequence[Path] | None = None) -> ScoringJob:
    """The job in a file.

    Args:
        source: Path or URL of a YAML (or JSON) file, or the name of a file in one of the folders.
            With `@LABEL` behind it, the job of one of its challengers.
        folders: Where job files are looked up by their name. None: the folder of `NIGHTSCORE_JOBS`,
            `jobs`, `deploy/jobs` and the current folder.

    Raises:
        InvalidJobError: It cannot be found or read, is no YAML, or does not describe a job. All
            problems are named. Or the job has no such challenger.
    """
    source, label = split_label(source)
    path = find_job(source, folders)
    path, content = _read(path)
    job = _parse_content(path, content).remember(path)

    if is_job_name(source):
        logger.info("the job %s is %s", source, path)
        job.remember(source)

    return _challenger_of(job, label) if label else job


def _challenger_of(job: ScoringJob, label: str) -> ScoringJob:
    """The job of a challenger."""
    challengers = challenger_jobs(job)
    if label in challengers:
        return challengers[label]

    near = difflib.get_close_matches(label, challengers, n=1, cutoff=0.5)

    raise InvalidJobError(
        f"The job {job.given_as} has no challenger {label}.",
        expected=f"one of {', '.join(challengers)}" if challengers else "a job with challengers",
        found=label if challengers else "no release.challenger in its file",
        next_step=f"did you mean {job.given_as}@{near[0]}?"
        if near
        else "name it as release.challenger in the job file, or give the job itself",
    )


def _read(path: str) -> tuple[str, bytes]:
    """The content of a job file, and its path: there may be one with the other spelling only."""
    folder, name = posixpath.split(path)
    try:
        return path, Store(folder or ".").read_bytes(name)
    except ScoringError as error:
        other = other_spelling(path)
        if other is None:
            raise _unreadable(path, error) from error

    logger.warning("there is no %s; the job file is %s", path, other)
    return _read(other)


def _parse_content(source: str, content: bytes) -> ScoringJob:
    try:
        raw = read_document(source, content)
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
            f"The job file is no valid {'JSON' if is_json(source) else 'YAML'}.",
            source,
            found=str(error),
            next_step="correct the file at this place",
        ) from error

    return _parse(raw, source, json_as_yaml(content) if is_json(source) else content)


def _unreadable(source: str, error: ScoringError) -> InvalidJobError:
    found, next_step = error.found or error.what, "check the path and the file"

    if "://" not in source and not Path(source).exists():
        found = "no such file"
        near = near_files(source)
        if near:
            next_step = f"give the path of a file that exists, such as {near[0]}"

    return InvalidJobError(
        "The job file cannot be read.",
        source,
        expected="a YAML file in UTF-8",
        found=found,
        next_step=next_step,
    )


def parse_job(raw: object, source: str = "the job") -> ScoringJob:
    """The job in a mapping, as `load_job` reads it.

    Raises:
        InvalidJobError: All problems are named, unknown keys with the nearest known one.
    """
    return _parse(raw, source, b"")


def _parse(raw: object, source: str, content: bytes) -> ScoringJob:
    """The job in a mapping that was read from `content`. Empty: it is from no file."""
    if not isinstance(raw, Mapping):
        raise InvalidJobError(
            "The job file does not describe a job.",
            source,
            expected="a mapping with the keys name, model, input, output",
            found="an empty file" if raw is None else describe_value(raw),
            next_step="write each key as `key: value`, with a space after the colon, as in "
            "README.md; schemas/job.schema.json lists every key",
        )

    expanded, problems = expand_references(raw, folder_of(source) if content else "")
    problems += misread_numbers(content)

    try:
        job = ScoringJob.model_validate(expanded)
    except ValidationError as error:
        # Only errors need to know where the keys stand.
        lines = describe_errors(error, problems, raw, expanded, DocumentPositions(content))
        # A notebook would show pydantic's own sentences above ours.
        raise _invalid(lines, source) from None

    if problems:
        raise _invalid(describe_problems(problems, DocumentPositions(content)), source)
    return job


def _invalid(problems: Sequence[str], source: str) -> InvalidJobError:
    n_problems = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InvalidJobError(
        f"The job file has {n_problems}.",
        source,
        problems=problems,
        next_step="correct the file; schemas/job.schema.json gives completion in editors",
    )
