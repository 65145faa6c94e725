"""What backends share when they map a job's `storage_options`.

fsspec reads and writes files, delta-rs (object_store) commits to tables, and they name the same
options differently. A job may use the names of either. A name that neither knows is refused, since
it would have no effect.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nightscore.errors import InvalidJobError

PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
}
"""In botocore's names. s3fs tries each request five times around botocore's two, also where an
answer's body ended early: a store that stalls for good is given up after 200 s."""


def rename_options(
    options: Sequence[tuple[str, Any]],
    *,
    prefixes: Sequence[str],
    names: Mapping[str, str],
    unchanged: Sequence[str],
    store: str,
) -> dict[str, Any]:
    """Options under one name each. Of several with the same meaning, the last one counts.

    Args:
        options: Names, in any case, and values.
        prefixes: Removed from names.
        names: The one name for each of a group of synonyms.
        unchanged: Further names that are known.
        store: Named in the error.

    Raises:
        InvalidJobError: Some names are unknown. All of them are named.
    """
    renamed: dict[str, Any] = {}
    unknown = []

    for given, value in options:
        name = given.lower()
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        name = name.removeprefix(prefix)

        if name in names:
            renamed[names[name]] = value
        elif name in unchanged:
            renamed[name] = value
        else:
            unknown.append(given)

    if unknown:
        raise InvalidJobError(
            f"The job's storage_options have names that are not known for {store}.",
            found=", ".join(sorted(unknown)),
            expected=", ".join([*dict.fromkeys(names.values()), *unchanged]),
            next_step="correct storage_options in the job file",
        )

    return renamed


def select_options(options: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The wanted options that have a value."""
    return {name: options[name] for name in wanted if options.get(name) is not None}


def delta_patience(patience: Mapping[str, Any] = PATIENCE) -> dict[str, str]:
    """Timeouts and retries as object_store names them."""
    return {
        "timeout": f"{patience['read_timeout']}s",
        "connect_timeout": f"{patience['connect_timeout']}s",
        "max_retries": "4",
        "retry_timeout": "120s",
    }


def delta_endpoint(name: str, endpoint: object) -> dict[str, str]:
    """The endpoint under the given name, and whether it is reached without TLS."""
    is_plain = str(endpoint).startswith("http://")
    return {name: str(endpoint), "allow_http": str(is_plain).lower()}
