"""Values of a column as people know them: numbers without noise, moments as dates."""

import math
from datetime import UTC, datetime

import numpy as np

DAY_S = 86_400.0
LEAST_DIGITS = 3
MOST_DIGITS = 15
UNIT_DIGITS = 5
"""With more, 1,000,000.02 is easier to read than 1.00000002M."""
_LEAST_NORMAL = float(np.finfo(np.float64).tiny)
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"))


def is_time(arrow_type: str) -> bool:
    """Whether values of this type are dates or moments."""
    return arrow_type.startswith(("date", "timestamp"))


def to_seconds(arrow_type: str) -> float:
    """The factor from profiled values to seconds: dates are counted in days."""
    if arrow_type.startswith("date"):
        return DAY_S
    return 1.0


def show_value(value: float, arrow_type: str = "") -> str:
    """One value of a column."""
    if is_time(arrow_type):
        return show_moment(value * to_seconds(arrow_type))
    return show_number(value)


def show_number(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, or all digits before the point if those are more.

    Denormal numbers stand for zero: they are the edge beside it, and nobody's value.
    """
    if math.isnan(value):
        return "NaN"

    if math.isinf(value):
        if value > 0:
            return "∞"
        return "-∞"

    if abs(value) < _LEAST_NORMAL:
        return "0"

    if abs(value) >= 9.995e14 or abs(value) < 1e-4:
        return _power_of_ten(value, digits)

    rounded = float(f"{value:.{digits}g}")
    size = abs(rounded)

    for unit, letter in _UNITS:
        if size >= unit and digits <= UNIT_DIGITS:
            return f"{_plain(rounded / unit, digits)}{letter}"

    return _plain(value, digits)


def digits_for(least: float, greatest: float, step: float) -> int:
    """Significant digits that tell values apart that differ by `step`."""
    size = max(abs(least), abs(greatest))
    if not size or not step or not math.isfinite(size / step):
        return LEAST_DIGITS
    return min(MOST_DIGITS, max(LEAST_DIGITS, math.ceil(math.log10(size / step)) + 2))


def show_moment(seconds: float, *, with_time: bool = False) -> str:
    """A moment in UTC, as a date; beyond the calendar as a number."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return show_number(seconds)
    if with_time:
        return f"{moment:%Y-%m-%d %H:%M}"
    return f"{moment:%Y-%m-%d}"


def _plain(value: float, digits: int) -> str:
    """Without an exponent; from 10,000 on with separators, so that years stay years."""
    size = abs(value)
    n_before_point = math.floor(math.log10(size)) + 1
    text = f"{value:,.{max(0, digits - n_before_point)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    if size < 9_999.5:
        return text.replace(",", "")
    return text


def _power_of_ten(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"
