"""Says what was meant by a key of a job file that a job has not."""

import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.inputs.job_fields import field_at, field_below, sections
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.problem import KeyPath, show_path

_DIGITS = re.compile(r"\d+%?")

_SYNONYMS = {
    "path": "uri",
    "location": "uri",
    "folder": "uri",
    "table": "uri",
    "primary_key": "keys",
    "id": "keys",
    "id_columns": "keys",
    "index": "keys",
    "columns": "features",
    "source": "input",
    "data": "input",
    "dataset": "input",
    "inputs": "input",
    "target": "output",
    "destination": "output",
    "sink": "output",
    "outputs": "output",
    "tracking_uri": "registry",
    "registry_uri": "registry",
    "mlflow": "registry",
    "threads": "workers",
    "n_jobs": "workers",
    "concurrency": "workers",
    "parallelism": "workers",
}
"""What other tools call a key."""

_NOT_IN_A_JOB = {
    **dict.fromkeys(
        ("schedule", "cron", "timezone", "interval"),
        "schedules are not in the job file; `nightscore deploy` takes --cron and --timezone",
    ),
    **dict.fromkeys(
        ("retry", "retries", "max_retries", "attempts"),
        "lost shards and stores that do not answer are tried again without it",
    ),
    **dict.fromkeys(
        ("timeout", "timeout_s", "timeout_seconds", "timeout_minutes"),
        "did you mean shard_minutes below limits?",
    ),
    **dict.fromkeys(
        ("batch_size", "chunk_size", "batch_rows", "memory"),
        "batches are sized by memory_bytes below limits",
    ),
    **dict.fromkeys(("description", "owner", "tags", "notes"), "write it as a comment, after a #"),
    **dict.fromkeys(
        ("alias", "version", "model_version", "stage"),
        "it is a part of model: models:/<name>/<version> or models:/<name>@<alias>",
    ),
}
"""Keys of other tools that a job has no key for, and what there is instead."""


def describe_unknown_key(path: KeyPath, raw: Mapping[Any, Any]) -> str:
    """What is wrong with a key that the job has not.

    Args:
        path: Of the key.
        raw: The job as it is written.
    """
    slip = _slip(path, raw)
    return f"unknown key; {slip or _instead_of(path)}"


def wrapped_keys(raw: Mapping[Any, Any]) -> set[str]:
    """Keys of the top that stand below a key of the writer's own, such as `job:`."""
    keys: set[str] = set()
    for key, value in raw.items():
        if _is_wrapper(key, value):
            keys |= value.keys() & ScoringJob.model_fields.keys()
    return keys


def _is_wrapper(key: Any, value: Any) -> bool:
    """Whether an unknown key of the top has more than one of the top's keys below it."""
    if key in ScoringJob.model_fields or not isinstance(value, Mapping):
        return False
    return len(value.keys() & ScoringJob.model_fields.keys()) > 1


def _slip(path: KeyPath, raw: Mapping[Any, Any]) -> str:
    """What is wrong with the way the key is written, and not with its name. Empty: nothing."""
    section, key = path[:-1], str(path[-1])
    around: Any = raw
    for part in section:
        around = around.get(part) if isinstance(around, Mapping) else None
    if not isinstance(around, Mapping) or key not in around:
        return ""

    if not section and _is_wrapper(key, around[key]):
        return "move the keys below it to the top, without indentation"
    if key.startswith(("/*", "//")):
        return "a comment begins with #"

    names = list(around)
    above = names[: names.index(key)]
    return _comma(key, around, above) or _missing_indentation(section, key, around, above)


def _comma(key: str, around: Mapping[Any, Any], above: Sequence[Any]) -> str:
    """The number that a comma has cut in two: `{max_quarantined_rows: 1,000}`."""
    number = around[above[-1]] if above else None
    is_rest = _DIGITS.fullmatch(key) is not None and around[key] is None
    if not is_rest or isinstance(number, bool) or not isinstance(number, int):
        return ""

    is_thousands = number != 0 and len(key) == 3 and key.isdigit()
    meant = f"{number}{key}" if is_thousands else f"{number}.{key}"
    return f"a comma begins a new key; write {meant}"


def _missing_indentation(
    section: KeyPath, key: str, around: Mapping[Any, Any], above: Sequence[Any]
) -> str:
    """The section above with nothing in it, to which the key belongs."""
    empty = [name for name in above if around[name] is None]
    field, _ = field_at(section)

    for name in reversed(empty):
        below = field_below(field, name)
        if below is not None and key in below.keys:
            return f"it belongs below {name}; indent it"
    return ""


def _instead_of(path: KeyPath) -> str:
    """What was probably meant by the key."""
    section, key = path[:-1], str(path[-1])
    known = field_at(section)[0].keys
    homes = _homes().get(key, [])

    instead = _NOT_IN_A_JOB.get(key.lower())
    if instead and not section and not homes:
        return instead

    # What is a key elsewhere is rather in the wrong place than misspelt.
    cutoff = 0.8 if len(homes) == 1 else 0.5
    suggestions = difflib.get_close_matches(key.lower(), known, n=1, cutoff=cutoff)

    synonym = _SYNONYMS.get(key.lower(), "")
    if synonym in known:
        suggestions = [synonym]

    if len(homes) == 1:
        place = f"below {show_path(homes[0])}" if homes[0] else "at the top, without indentation"
        suggestions.append(f"{key} {place}")

    if suggestions:
        return f"did you mean {', or '.join(suggestions)}?"
    return f"known keys: {', '.join(known)}"


@functools.cache
def _homes() -> Mapping[str, Sequence[KeyPath]]:
    """The sections that have a key, by key."""
    homes: dict[str, list[KeyPath]] = {}
    for section in sections():
        for key in field_at(section)[0].keys:
            homes.setdefault(key, []).append(section)
    return homes
