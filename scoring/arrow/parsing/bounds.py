"""Bounds of a file's columns, as Delta's log has them: readers skip files by them.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, "Per-file Statistics".
"""

import json
import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

WHOLE_NUMBERS = ("INT32", "INT64")
NUMBERS = (*WHOLE_NUMBERS, "FLOAT", "DOUBLE")
"""Parquet's physical types of numbers. Times and decimals have them as well."""

EPOCH_DAYS = date(1970, 1, 1).toordinal()
EPOCH, EPOCH_UTC = datetime(1970, 1, 1), datetime.fromisoformat("1970-01-01T00:00:00+00:00")

MAX_DIGITS = 15
"""Digits of a decimal: some readers parse JSON's numbers as float64, which is exact up to here."""

MAX_CHARACTERS = 32
"""Longer texts are truncated, so that the log stays small. Delta's other writers do the same."""

GREATEST = "\U0010ffff"

Bounds = tuple[Any, Any]


def is_bytes(stats: Any) -> bool:
    """Whether a column holds bytes, for which Delta has no bounds."""
    return bool(stats.physical_type == "BYTE_ARRAY" and stats.logical_type.type == "NONE")


def bounds_of(stats: Any) -> Bounds | None:
    """Least and greatest value in pyarrow's statistics of a column chunk.

    None: they do not say, or JSON cannot.
    """
    if not stats.has_min_max:
        return None
    try:
        return _bounds(stats)
    except (OverflowError, ValueError):  # before the year 1, after 9999; text that is not UTF-8
        return None


def low_text(value: Any) -> str:
    """A value as JSON, or a lesser one."""
    return _text(value[:MAX_CHARACTERS] if isinstance(value, str) else value)


def high_text(value: Any) -> str:
    """A value as JSON, or a greater one."""
    if not isinstance(value, str) or len(value) <= MAX_CHARACTERS:
        return _text(value)

    end = MAX_CHARACTERS
    while value[end : end + 1] == GREATEST:
        end += 1
    suffix = GREATEST if end < len(value) else ""
    return _text(value[:end] + suffix)


def _bounds(stats: Any) -> Bounds | None:
    logical_type, physical_type = stats.logical_type.type, stats.physical_type
    if logical_type == "DATE":
        return _to_date(stats.min_raw), _to_date(stats.max_raw)
    if logical_type == "TIMESTAMP":
        return _times(stats)
    if logical_type == "DECIMAL":
        return _decimals(stats)
    if logical_type == "STRING" or physical_type == "BOOLEAN":
        return stats.min, stats.max
    if logical_type in ("NONE", "INT") and physical_type in NUMBERS:
        return _numbers(stats)

    return None


def _numbers(stats: Any) -> Bounds | None:
    """JSON has neither infinities nor NaN."""
    low, high = stats.min, stats.max
    is_finite = all(math.isfinite(value) for value in (low, high))
    return (low, high) if is_finite else None


def _times(stats: Any) -> tuple[datetime, datetime] | None:
    """A Delta table has microseconds only."""
    logical_type = json.loads(stats.logical_type.to_json())
    if logical_type["timeUnit"] != "microseconds" or stats.physical_type != "INT64":
        return None

    epoch = EPOCH_UTC if logical_type["isAdjustedToUTC"] else EPOCH
    low = epoch + timedelta(microseconds=stats.min_raw)
    high = epoch + timedelta(microseconds=stats.max_raw)
    return low, high


def _decimals(stats: Any) -> tuple[Decimal, Decimal] | None:
    low, high = stats.min, stats.max
    is_short = all(len(value.as_tuple().digits) <= MAX_DIGITS for value in (low, high))
    return (low, high) if is_short else None


def _to_date(days: int) -> date:
    return date.fromordinal(EPOCH_DAYS + days)


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return json.dumps(value.isoformat(timespec="microseconds").replace("+00:00", "Z"))
    if isinstance(value, date):
        return json.dumps(value.isoformat())
    # Not as \\u escapes: delta-rs reads a pair of surrogates as another character in half of
    # Unicode's planes.
    return json.dumps(value, ensure_ascii=False)
