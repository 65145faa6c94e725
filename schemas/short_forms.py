"""Short forms in a job file: `keys: id`, `memory_bytes: 2GiB`, `max_quarantined_share: 5%`.

Each stands for exactly one long form. A value that is no short form is returned as it is; the
field's own checks then say what is wrong with it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

SIZE = r"^\s*\d{1,15}(\.\d{1,9})?\s*[kKmMgGtT](i|[bB]|i[bB])\s*$"
"""`512MB` (1000 * 1000 bytes each), `2GiB` and Kubernetes' `2Gi` (1024 to the power of 3 each)."""
PERCENT = r"^\s*(\d{1,15}(\.\d{1,9})?)\s*%\s*$"

_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([kKmMgGtT])(i?)([bB]?)\s*")
"""The same, and sizes without a unit's last letter, which have two meanings."""
_PERCENT = re.compile(PERCENT)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_EXPONENT = re.compile(r"[-+]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})[eE][-+]?\d{1,3}")


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a field takes, in words. Errors show it; without it, they describe the field's type."""

    words: str
    """Completes "expected ..."."""


def read_size(value: Any) -> Any:
    """The bytes of a size such as `2GiB`, rounded down; any other value as `read_whole` reads it.

    Raises:
        ValueError: The unit has two meanings.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return read_whole(value)

    number, prefix, binary, byte = match.groups()
    power = _POWERS[prefix.lower()]
    decimal_bytes = int(Decimal(number) * 1000**power)
    binary_bytes = int(Decimal(number) * 1024**power)

    if binary:
        return binary_bytes
    if byte:
        return decimal_bytes
    unit = prefix.upper().replace("K", "k")
    raise ValueError(
        f"{value} has two meanings; write {number}{unit}B ({decimal_bytes:,} bytes) or "
        f"{number}{prefix.upper()}iB ({binary_bytes:,} bytes)"
    )


def read_percentage(value: Any) -> Any:
    """The share that a text such as `5%` means: 0.05; any other value as `read_number` reads it."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    # Decimal divides exactly: the same float as the literal 0.05 gives.
    return read_number(value) if match is None else float(Decimal(match[1]) / 100)


def read_number(value: Any) -> Any:
    """The number of `1e-3`, for which JSON and YAML 1.2 take it and YAML 1.1 does not."""
    is_number = isinstance(value, str) and _EXPONENT.fullmatch(value) is not None
    return float(value) if is_number else value


def read_whole(value: Any) -> Any:
    """The whole number of 100.0, for which JSON Schema takes it; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_names(value: Any) -> Any:
    """A list for one name; any other value as it is.

    Raises:
        ValueError: It looks like several names without the brackets of a list.
    """
    if not isinstance(value, str):
        return value
    if "," in value:
        raise ValueError("expected one name, or several in brackets, such as [origin, dest]")
    return [value]


def read_keys(value: Any) -> Any:
    """The section for one name or a list of names; any other value as it is.

    Raises:
        ValueError: It looks like several names without the brackets of a list.
    """
    is_short = isinstance(value, str | list | tuple)
    return {"columns": read_names(value)} if is_short else value


def read_section(key: str, kinds: tuple[type, ...] = (str,)) -> Callable[[Any], Any]:
    """Reads a plain value of these kinds as a section that sets one key."""

    def read(value: Any) -> Any:
        is_short = isinstance(value, kinds) and not isinstance(value, bool)
        return {key: value} if is_short else value

    return read


def read_off(value: Any) -> Any:
    """`off` for false, as which YAML reads a plain `off`; any other value as it is."""
    return "off" if value is False else value
