"""Share of values outside the reference's range."""

import math
from collections.abc import Iterator

import numpy as np

from nightscore.monitoring.drift.labels import show_value
from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.monitoring.drift.statistics.shared.significance import FEW_ROWS_P
from nightscore.monitoring.drift.statistics.shared.statistic import (
    NUMBERS,
    Evidence,
    Grade,
    Statistic,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import NumberProfile
from nightscore.schemas.drift import Severity

CRITICAL_RATE = 0.05
WARNING_RATE = 0.002
WARNING_SHIFT = 1.0
"""A few values outside matter only if the column moved by a standard deviation as well."""


def out_of_range_rate(group: ColumnGroup) -> Floats:
    """Share of the finite values; nan where they were counted against another range."""
    return np.array([_rate(pair) for pair in group.pairs])


def exceedance_p(n: int, m: int, n_outside: int) -> float:
    """Probability that so many of m values lie outside the range of n of the same distribution.

    It is an approximation. The range of a sample is not that of its distribution.

    Source: E. J. Gumbel, H. von Schelling, "The distribution of the number of exceedances" (1950):
    each further one has the probability m / (n + m), at either end.
    """
    if n and m:
        return (n_outside + 1) * (m / (n + m)) ** n_outside
    return math.nan


def grade_range(evidence: Evidence) -> Iterator[Grade]:
    """More values outside than chance explains."""
    reference, current = evidence.pair.reference, evidence.pair.current

    rate, shift = evidence.values["out_of_range_rate"], evidence.values["wasserstein_over_std"]
    if math.isnan(rate):
        return

    assert isinstance(reference, NumberProfile)  # noqa: S101
    assert isinstance(current, NumberProfile)  # noqa: S101

    if not exceedance_p(reference.n_finite, current.n_finite, current.n_outside) < FEW_ROWS_P:
        return

    severity: Severity

    if rate > CRITICAL_RATE:
        severity = "critical"
    elif rate > WARNING_RATE and shift > WARNING_SHIFT:
        severity = "warning"
    else:
        return

    words = f"{rate:.1%} of the values are outside {_show_range(evidence.pair, reference)}"
    yield Grade("range", severity, words)


def _show_range(pair: ColumnPair, reference: NumberProfile) -> str:
    least, greatest = (
        show_value(value, pair.arrow_type) for value in (reference.least, reference.greatest)
    )
    if reference.least == reference.greatest:
        return f"the reference, whose only value is {least}"
    return f"the reference's range, {least} to {greatest}"


def _rate(pair: ColumnPair) -> float:
    reference, current = pair.reference, pair.current
    assert isinstance(reference, NumberProfile)  # noqa: S101
    assert isinstance(current, NumberProfile)  # noqa: S101
    # Values outside some other range say nothing about this reference.
    is_known = reference.n_finite > 0 and current.bounds == reference.range
    if is_known and current.n_finite:
        return current.n_outside / current.n_finite
    return math.nan


OUT_OF_RANGE = Statistic(
    name="out_of_range_rate",
    label="out of range",
    title="share of values outside the reference's range",
    meaning="Share of values below the reference's least value or above its greatest.",
    source="values outside / finite values; significance by Gumbel and von Schelling (1950)",
    applies_to=NUMBERS,
    measure=out_of_range_rate,
    grade=grade_range,
    rule=(
        f"warning above {WARNING_RATE:.1%} if the values moved by a standard deviation, "
        f"critical above {CRITICAL_RATE:.0%}"
    ),
    habit="range",
    views=frozenset({"page"}),
    pattern="{:.1%}",
)
