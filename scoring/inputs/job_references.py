"""Replaces `~` and `${ENV_NAME}` in the paths and URIs of a job file, once, when it is read.

`${NIGHTSCORE_JOB_FOLDER}` is the folder of the file itself.

What comes after works with the places that are meant: records, fingerprints and other hosts see
expanded URIs. `storage_options` are left alone: their values may be secrets, and are resolved late.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nightscore.inputs.job_folder import JOB_FOLDER, expand_job_folder
from nightscore.inputs.other_templates import find_templates, without_escapes
from nightscore.schemas.problem import KeyPath, Problem
from nightscore.schemas.uri import check_uri

PLACES: tuple[KeyPath, ...] = (
    ("model",),
    ("registry",),
    ("input", "uri"),
    ("output", "uri"),
    ("labels", "uri"),
    ("release", "log"),
    ("workers", "address"),
)
"""The keys whose values are paths or URIs."""

MAX_WRONG = 10
"""References of one value that are named as wrong."""

_REFERENCE = re.compile(r"\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOME = re.compile(r"(file://|sqlite:///)?~([^/]*)")
"""`~` or `~user` where a path begins."""
_CONTROL = re.compile(r"[\x01-\x1f\x7f]")
"""Line breaks and other characters that no path has on purpose. NUL is refused elsewhere."""


def expand_references(
    raw: Mapping[Any, Any], folder: str = ""
) -> tuple[dict[Any, Any], list[Problem]]:
    """The job with its places expanded, and what could not be.

    Args:
        raw: The job file's keys and values. It is not changed.
        folder: The job file's folder; empty: the job is from no file of this machine.
    """
    job = dict(raw)
    problems: list[Problem] = []

    for path in PLACES:
        top, key = path[0], path[-1]
        section = job.get(top)

        if isinstance(section, str) and key != "address":
            text = expand_job_folder(section, folder)
            job[top] = _expanded(text, path, problems)
        elif isinstance(section, Mapping) and isinstance(section.get(key), str):
            text = expand_job_folder(section[key], folder)
            job[top] = {**section, key: _expanded(text, path, problems)}

    return job, problems


def _expanded(text: str, path: KeyPath, problems: list[Problem]) -> str:
    """The text with its references replaced. Adds what is wrong with them to the problems."""
    references = {match[0]: match for match in _REFERENCE.finditer(text)}
    wrong = [problem for match in references.values() if (problem := _problem(match))]
    wrong += find_templates(text)
    if _CONTROL.search(text):
        wrong.append("expected a path or a URI on one line; remove its line breaks and tabs")

    if wrong:
        problems += [Problem(path, problem) for problem in wrong[:MAX_WRONG]]
        return text

    try:
        expanded = _REFERENCE.sub(lambda match: os.environ[match[1]], without_escapes(text))
        home = _HOME.match(expanded)
        if home is not None:
            expanded = _home_folder(home) + expanded[home.end() :]
    except ValueError as error:
        problems.append(Problem(path, str(error)))
        return text

    if expanded != text or path == ("registry",):
        problems += _credentials(expanded, path, list(references))
    return expanded


def _problem(reference: re.Match[str]) -> str:
    """What is wrong with a reference; empty: nothing."""
    name, end = reference.groups()
    if not end or not _NAME.fullmatch(name):
        return "expected ${NAME}, the name of an environment variable, without a default"

    value = os.environ.get(name)
    if value is None and name == JOB_FOLDER:
        return f"{name} is the folder of a job file on this machine, and there is none here"
    if value is None:
        return f"the environment variable {name} is not set; export it, or correct its name"
    if not value.strip():
        return f"the environment variable {name} is empty; give it a value"
    if _CONTROL.search(value):
        return (
            f"expected a path or a URI on one line: the environment variable {name} has a line "
            "break or a tab in it; remove it"
        )
    return ""


def _home_folder(match: re.Match[str]) -> str:
    scheme, user = match[1] or "", match[2]
    try:
        folder = str(Path(f"~{user}").expanduser())
    except RuntimeError:
        raise ValueError(
            f"~{user} names no folder, since there is no such user, or the user has no home; write "
            f"the whole path, or ./~{user} for a folder of that name"
        ) from None

    if not user and not os.environ.get("HOME", folder).strip():
        raise ValueError(
            "~ names no folder: the environment variable HOME is empty; expected the path of your "
            "home in it, or the whole path here"
        )
    return f"{scheme}{quote(folder) if scheme == 'file://' else folder}"


def _credentials(expanded: str, path: KeyPath, references: list[str]) -> list[Problem]:
    """The problem of credentials in an expanded URI: records and other hosts would get them.

    The URI of a database may have them, since MLflow takes them nowhere else. They are kept out of
    records and messages.
    """
    is_registry = path == ("registry",)
    if is_registry and not expanded.lower().startswith(("http://", "https://")):
        return []

    try:
        check_uri(expanded)
    except ValueError as error:
        reason = str(error)
        if is_registry:
            reason = (
                "carries credentials; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or leave registry out and set MLFLOW_TRACKING_URI"
            )
        if references:
            reason = f"with the value of {' and '.join(references)} it {reason}"
        return [Problem(path, reason)]
    return []
