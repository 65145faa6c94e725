"""The least and the greatest value of a file's columns, as Delta's log has them: readers skip files by them.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md, "Per-file Statistics".
"""

import json
import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

WHOLE_NUMBERS = ("INT32", "INT64")
NUMBERS = (*WHOLE_NUMBERS, "FLOAT", "DOUBLE")
"""Parquet's physical types of numbers; times and decimals have them as well."""
EPOCH_DAYS = date(1970, 1, 1).toordinal()
EPOCH, EPOCH_UTC = datetime(1970, 1, 1), datetime.fromisoformat("1970-01-01T00:00:00+00:00")
MAX_DIGITS = 15
"""Of a decimal: some readers take JSON's numbers for float64, which has no more for certain."""
MAX_CHARACTERS = 32
"""Longer texts are cut off, so that the log stays small; Delta's other writers cut at the same place."""
GREATEST = "\U0010ffff"


def is_bytes(stats: Any) -> bool:
    """Whether a column holds bytes: Delta has no bounds of these."""
    return bool(stats.physical_type == "BYTE_ARRAY" and stats.logical_type.type == "NONE")


def bounds_of(stats: Any) -> tuple[Any, Any] | None:
    """Least and greatest value in pyarrow's statistics of a column chunk; None: they do not say, or JSON cannot."""
    if not stats.has_min_max:
        return None
    kind, physical = stats.logical_type.type, stats.physical_type
    try:
        if kind == "DATE":
            return _date(stats.min_raw), _date(stats.max_raw)
        if kind == "TIMESTAMP":
            return _times(stats)
        if kind == "DECIMAL":
            return _decimals(stats)
        if (
            kind == "STRING"
            or physical == "BOOLEAN"
            or (kind in ("NONE", "INT") and physical in NUMBERS)
        ):
            low, high = stats.min, stats.max
        else:
            return None
    except (OverflowError, ValueError):  # before the year 1, after 9999; text that is not UTF-8
        return None
    is_endless = any(isinstance(value, float) and not math.isfinite(value) for value in (low, high))
    return None if is_endless else (low, high)


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
    return _text(value[:end] + (GREATEST if end < len(value) else ""))


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return json.dumps(value.isoformat(timespec="microseconds").replace("+00:00", "Z"))
    # Not as \\u escapes: delta-rs reads a pair of surrogates as another character in half of Unicode's planes.
    return json.dumps(value.isoformat() if isinstance(value, date) else value, ensure_ascii=False)


def _date(days: int) -> date:
    return date.fromordinal(EPOCH_DAYS + days)


def _times(stats: Any) -> tuple[datetime, datetime] | None:
    logical = json.loads(stats.logical_type.to_json())
    if (
        logical["timeUnit"] != "microseconds" or stats.physical_type != "INT64"
    ):  # a Delta table has no others
        return None
    epoch = EPOCH_UTC if logical["isAdjustedToUTC"] else EPOCH
    return epoch + timedelta(microseconds=stats.min_raw), epoch + timedelta(
        microseconds=stats.max_raw
    )


def _decimals(stats: Any) -> tuple[Decimal, Decimal] | None:
    low, high = stats.min, stats.max
    is_short = all(len(value.as_tuple().digits) <= MAX_DIGITS for value in (low, high))
    return (low, high) if is_short else None
