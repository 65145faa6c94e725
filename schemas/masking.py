"""Takes secrets out of messages: libraries put addresses, and values that they refuse, into their errors."""

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
LEAST_CHARACTERS = 8
"""Of a value that is looked for: shorter ones are words of other texts as well."""
_SECRET_NAME = re.compile(
    r"secret|token|passw|private|(account|master|access|sas)_key$|connection_string", re.IGNORECASE
)
_USER = re.compile(r"(://)[^/\s@:]*:[^/\s]*@|(https?://)[^/\s@]+@", re.IGNORECASE)
"""A user before the host; not the container of Azure's `abfss://container@account`."""
_SIGNATURE = re.compile(
    r"([?&](?:sig|X-Amz-Signature|X-Amz-Security-Token|X-Goog-Signature|\w*password|\w*token)=)[^&\s'\")]+",
    re.IGNORECASE,
)

_values: set[str] = set()
"""Secrets that this process has handed to libraries."""


def remember(options: Mapping[str, Any]) -> None:
    """Note the secrets among storage options, without references, so that `masked` knows them."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            remember(value)
        elif isinstance(value, str) and _SECRET_NAME.search(name):
            # A connection string or a key's JSON is told in parts.
            parts = [value, *(part.partition("=")[2] for part in value.split(";"))]
            _values.update(part for part in parts if len(part) >= LEAST_CHARACTERS)


def masked(text: str) -> str:
    """The text without users before hosts, signatures of URLs, and secrets that this process knows."""
    for value in sorted(_values, key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _USER.sub(lambda match: f"{match[1] or match[2]}{MASK}@", text)
    return _SIGNATURE.sub(rf"\1{MASK}", text)
