import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.profiles.differences.exact_sums import (
    GRAIN_BITS,
    GroupTerms,
    exact_sum,
    to_fraction,
)

NUMBERS = st.floats(min_value=-(2.0**899), max_value=2.0**899, allow_nan=False)


@given(st.lists(NUMBERS, max_size=30))
def test_a_sum_is_that_of_fractions(numbers: list[float]) -> None:
    expected = sum((Fraction(number) for number in numbers), Fraction(0))
    assert to_fraction(exact_sum(np.array(numbers, np.float64))) == expected


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 2)), max_size=30))
def test_sums_of_groups_are_those_of_fractions(rows: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in rows], np.float64)
    codes = np.array([code for _, code in rows], np.int64)

    found = GroupTerms.of(values, None).by_group(codes, 3)

    for group in range(3):
        expected = sum((Fraction(value) for value, code in rows if code == group), Fraction(0))
        assert to_fraction(found[group]) == expected


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=30), st.integers(0, 30))
def test_numbers_are_rounded_to_their_grain_whatever_stands_beside_them(
    numbers: list[float], cut: int
) -> None:
    grain = 1 - GRAIN_BITS
    values = np.array(numbers)
    codes = np.zeros(len(values), np.int64)

    (whole,) = GroupTerms.of(values, grain).by_group(codes, 1)
    parts = 0
    for some in (values[:cut], values[cut:]):
        (total,) = GroupTerms.of(some, grain).by_group(codes[: len(some)], 1)
        parts += total

    assert whole == parts
    error = abs(to_fraction(whole) - sum(map(Fraction, numbers)))
    assert error <= len(numbers) * Fraction(2) ** (grain - 1)


def test_a_million_equal_numbers_lose_nothing() -> None:
    values = np.full(1_000_000, 0.1)
    assert to_fraction(exact_sum(values)) == 1_000_000 * Fraction(0.1)
    assert float(to_fraction(exact_sum(values))) == math.fsum(values)


@pytest.mark.parametrize("least", [5e-324, -5e-324, 2.0**-1022])
def test_the_least_numbers_are_added(least: float) -> None:
    assert to_fraction(exact_sum(np.array([1.0, least, -1.0]))) == Fraction(least)
