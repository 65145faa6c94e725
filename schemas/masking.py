"""Removes secrets from messages: libraries put URLs, and values they refuse, into their errors."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

MIN_CHARACTERS = 8
"""Shorter values are not masked: they occur as words in other texts."""

_SECRET_NAME = re.compile(
    r"secret|token|passw|private|(account|master|access|sas)_key$|connection_string", re.IGNORECASE
)
"""Options whose values are secrets."""

_USER = re.compile(r"(://)[^/\s@:]*:[^/\s]*@|(https?://)[^/\s@]+@", re.IGNORECASE)
"""A user before the host, but not the container of Azure's `abfss://container@account`."""

_SIGNATURE = re.compile(
    r"([?&](?:sig|X-Amz-Signature|X-Amz-Security-Token|X-Goog-Signature|\w*password|\w*token)=)"
    r"[^&\s'\")]+",
    re.IGNORECASE,
)

_values: set[str] = set()
"""Secrets that this process has handed to libraries."""


def remember(options: Mapping[str, Any]) -> None:
    """Note the secrets among resolved storage options, so that `masked` recognises them."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            remember(value)
        elif isinstance(value, str) and _SECRET_NAME.search(name):
            # Messages may quote a part of a connection string.
            parts = [value, *(part.partition("=")[2] for part in value.split(";"))]
            _values.update(part for part in parts if len(part) >= MIN_CHARACTERS)


def masked(text: str) -> str:
    """The text without users before hosts, signatures of URLs, and secrets of this process."""
    for value in sorted(_values, key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _USER.sub(lambda match: f"{match[1] or match[2]}{MASK}@", text)
    return _SIGNATURE.sub(rf"\1{MASK}", text)
