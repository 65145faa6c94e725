"""References to environment variables in storage options.

Secrets are resolved in each process that needs them. They leave this package only as arguments to
the libraries that open connections.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from nightscore.errors import InvalidJobError
from nightscore.schemas.masking import remember

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def resolve_env(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with each `${ENV_NAME}` replaced by the variable's value.

    Raises:
        InvalidJobError: Variables are not set. All of them are named.
    """
    missing: set[str] = set()
    resolved = {name: _resolve(value, missing) for name, value in options.items()}

    if missing:
        raise InvalidJobError(
            "The job's storage_options name environment variables that are not set.",
            problems=[f"${{{name}}}" for name in sorted(missing)],
            next_step="export them before running, or correct their names in the job file",
        )

    remember(resolved)

    return resolved


def env_names(options: Mapping[str, Any]) -> set[str]:
    """Names of the environment variables that options refer to."""
    names: set[str] = set()
    for value in options.values():
        if isinstance(value, str):
            names |= set(_REFERENCE.findall(value))
        elif isinstance(value, Mapping):
            names |= env_names(value)
    return names


def _resolve(value: Any, missing: set[str]) -> Any:
    """The value without references. Adds the names of unset variables to `missing`."""
    if isinstance(value, Mapping):
        return {name: _resolve(item, missing) for name, item in value.items()}
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        content = os.environ.get(match[1])
        if content is None:
            missing.add(match[1])
        return content or ""

    return _REFERENCE.sub(look_up, value)
