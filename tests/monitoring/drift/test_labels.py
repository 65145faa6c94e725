"""Values as people know them: no noise, no denormal numbers, no seconds since 1970."""

import math

import pytest

from nightscore.monitoring.drift.labels import digits_for, show_moment, show_number, show_value


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.0, "0"),
        (5e-324, "0"),
        (-4.94e-324, "0"),
        (1e-310, "0"),
        (5.000000000000001, "5"),
        (4.999999999999999, "5"),
        (0.1 + 0.2, "0.3"),
        (-12.0, "-12"),
        (0.0132344, "0.0132"),
        (0.00001, "1e-5"),
        (1234.5, "1234"),
        (2013.0, "2013"),
        (9_999.9, "10,000"),
        (12_345.6, "12,346"),
        (1e6, "1M"),
        (2_500_000.0, "2.5M"),
        (-3.1e9, "-3.1B"),
        (4.56e12, "4.56T"),
        (1e15, "1e15"),
        (1.7976931348623157e308, "1.8e308"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
        (math.nan, "NaN"),
    ],
)
def test_a_number(value: float, label: str) -> None:
    assert show_number(value) == label


def test_neighbours_are_told_apart() -> None:
    low, high = 1_000_000.0, 1_000_000.03
    digits = digits_for(low, high, 0.01)
    assert [show_number(low + i * 0.01, digits) for i in range(3)] == [
        "1,000,000",
        "1,000,000.01",
        "1,000,000.02",
    ]


def test_dates_and_moments() -> None:
    assert show_value(19_782.0, "date32[day]") == "2024-02-29"
    assert show_value(1_709_251_200.0, "timestamp[us]") == "2024-03-01"
    assert show_moment(1_709_254_800.0, with_time=True) == "2024-03-01 01:00"
    assert show_moment(1e18) == "1e18", "beyond the calendar"
    assert show_value(1.5, "double") == "1.5"
