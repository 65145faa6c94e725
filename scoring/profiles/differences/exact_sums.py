"""Sums of floats without rounding, which are the same in any order and under any split.

A sum of floats depends on the order of its terms. Here each number is cut into parts that are whole
multiples of a power of two. A part has so few bits that NumPy adds as many as a batch has without
rounding. What NumPy gives is added as an integer.

Source: J. Demmel, H. D. Nguyen, "Parallel Reproducible Summation" (IEEE Transactions on Computers,
2015), whose bins are cut at the same places for all data. Here no bin is dropped.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Floats

PART_BITS = 28
"""Bits of a part. With as many again for the number of rows, and a sign, it fits in 2**53."""
GRAIN_BITS = 28
"""Bits of numbers that are added by group, above their grain."""
MOST_ROWS = 1 << 24
"""Rows whose parts are added at once, at most."""
UNIT_BITS = 1_092
"""Sums are whole multiples of 2**-1092: finer than the least float64, and a multiple of 28."""
MOST_EXPONENT = 900
"""Numbers of 2**900 and more cannot be cut: the caller leaves them out."""


def far_from(grain: int) -> float:
    """Numbers from here on are not rounded to multiples of 2**grain."""
    return math.ldexp(1.0, grain + GRAIN_BITS)


def exact_sum(values: Floats, grain: int | None = None) -> int:
    """The sum, in units of 2**-1092.

    Args:
        values: Finite numbers below 2**900, shape (n,); with a grain, all below `far_from(grain)`.
        grain: Numbers are rounded to multiples of 2**(grain - 28): to 56 bits below `far_from`,
            three more than a float64 has. None: nothing is rounded.
    """
    total = 0

    if grain is not None:
        rest = values
        for exponent in (grain, grain - PART_BITS):
            magnet = math.ldexp(1.5, 52 + exponent)
            part = rest + magnet
            part -= magnet

            total += _units(float(part.sum()), exponent)
            if exponent == grain:
                rest = values - part
        return total

    for exponent, part in _parts(values):
        total += _units(float(part.sum()), exponent)
    return total


@dataclass(frozen=True, slots=True)
class GroupTerms:
    """Numbers that are added by group, for one column after another."""

    parts: tuple[tuple[int, Floats], ...]
    """Arrays of shape (n,) that add up to the numbers, and the exponent of two that each is a
    multiple of."""

    @classmethod
    def of(cls, values: Floats, grain: int | None) -> Self:
        """Cut numbers into parts.

        Args:
            values: As those of `exact_sum`.
            grain: Numbers below 2**(grain + 28) are rounded to multiples of 2**grain, so that they
                are one part. None: nothing is rounded.
        """
        if grain is None:
            return cls(tuple(_parts(values)))

        is_far = np.abs(values) >= far_from(grain)
        near = np.where(is_far, 0.0, values) if is_far.any() else values

        magnet = math.ldexp(1.5, 52 + grain)
        parts = [(grain, (near + magnet) - magnet)]

        if near is not values:
            parts += _parts(np.where(is_far, values, 0.0))

        return cls(tuple(parts))

    def by_group(self, codes: npt.NDArray[np.int64], n_groups: int) -> list[int]:
        """The sum of each group, in units of 2**-1092.

        Args:
            codes: The group of each number, shape (n,).
            n_groups: Codes are below it.
        """
        totals = [0] * n_groups
        for exponent, part in self.parts:
            sums = np.bincount(codes, weights=part, minlength=n_groups)
            for group in np.flatnonzero(sums).tolist():
                totals[group] += _units(float(sums[group]), exponent)
        return totals


def to_fraction(total: int) -> Fraction:
    """A sum as a number."""
    return Fraction(total, 1 << UNIT_BITS)


def _parts(values: Floats) -> Iterator[tuple[int, Floats]]:
    """Arrays that add up to the values, and the exponent of two that each is a multiple of."""
    if not len(values):
        return

    greatest = max(float(values.max()), -float(values.min()))
    if not greatest:
        return

    exponent, rest = _part_exponent(greatest), values
    while rest.any():
        # Adding 1.5 * 2**(52 + exponent) rounds to multiples of 2**exponent.
        magnet = math.ldexp(1.5, 52 + exponent)
        part = rest + magnet
        part -= magnet
        yield exponent, part

        rest = rest - part
        exponent -= PART_BITS


def _part_exponent(greatest: float) -> int:
    """The multiple of 28 that leaves at most 28 bits above it."""
    _, exponent = math.frexp(greatest)
    return PART_BITS * (-(-exponent // PART_BITS) - 1)


def _units(value: float, exponent: int) -> int:
    """A whole multiple of 2**exponent, in units of 2**-1092."""
    return int(math.ldexp(value, -exponent)) << (exponent + UNIT_BITS)
