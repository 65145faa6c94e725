"""Number of distinct values against what as many rows of the reference would have."""

import math
from collections.abc import Iterator

import numpy as np

from nightscore.monitoring.drift.labels import show_value
from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.monitoring.drift.statistics.shared.significance import FEW_ROWS_P, MANY_ROWS
from nightscore.monitoring.drift.statistics.shared.statistic import Evidence, Grade, Statistic
from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import CategoryProfile, NumberProfile, Profile

FEW_DISTINCT = 0.2
"""Distinct values, as a share of those expected."""


def distinct_ratio(group: ColumnGroup) -> Floats:
    """Distinct values now over those expected; nan where either is not known."""
    return np.array([_ratio(pair) for pair in group.pairs])


def grade_distinct(evidence: Evidence) -> Iterator[Grade]:
    """A column that became constant, or lost most of its values."""
    pair = evidence.pair
    reference, current = pair.reference, pair.current

    if min(pair.n_rows) < MANY_ROWS:
        return

    if _became_constant(reference, current):
        assert isinstance(reference, NumberProfile)  # noqa: S101
        assert isinstance(current, NumberProfile)  # noqa: S101
        if _constant_p(reference, current) < FEW_ROWS_P:
            value = show_value(current.least, pair.arrow_type)
            yield Grade("distinct", "critical", f"all values are {value}")

        return

    ratio = evidence.values["distinct_ratio"]
    if ratio < FEW_DISTINCT:
        expected = current.n_distinct / max(ratio, 1e-9)
        words = (
            f"{current.n_distinct:,.0f} distinct values, "
            f"where the reference would have {expected:,.0f}"
        )
        yield Grade("distinct", "warning", words)


def _ratio(pair: ColumnPair) -> float:
    """Distinct values now, over those that so many rows of the reference would have.

    Source: H. Sanders, "Marine benthic diversity" (1968), corrected by S. Hurlbert (1971): a value
    of share p is among m rows with the probability 1 - (1 - p)^m. What is in no spike is taken as
    equally frequent.
    """
    current = pair.current
    n_values = current.n_rows - current.n_null

    if isinstance(current, NumberProfile):
        n_values -= current.n_odd

    expected = _expected_distinct(pair.reference, n_values)
    if expected > 0:
        return float(current.n_distinct / expected)

    return math.nan


def _expected_distinct(reference: Profile, n_rows: int) -> float:
    if isinstance(reference, CategoryProfile):
        rows = np.fromiter(reference.counts.values(), np.float64, len(reference.counts))
        if len(rows):
            return float(_seen(rows / rows.sum(), n_rows).sum())
        return 0.0

    n_finite = reference.n_finite
    if not n_finite:
        return 0.0

    spikes = reference.counts[reference.edges.spikes]
    expected = float(_seen(spikes / n_finite, n_rows).sum()) if len(spikes) else 0.0

    n_others = reference.n_distinct - int((spikes > 0).sum())
    n_rows_of_others = n_rows * float((n_finite - spikes.sum()) / n_finite)

    if n_others > 1:
        expected += n_others * -math.expm1(n_rows_of_others * math.log1p(-1 / n_others))
    elif n_others == 1:
        expected += min(1.0, n_rows_of_others)

    return expected


def _seen(shares: Floats, n_rows: int) -> Floats:
    """The probability that each of the values is among so many rows."""
    return np.asarray(1.0 - (1.0 - shares) ** n_rows)


def _became_constant(reference: Profile, current: Profile) -> bool:
    return _is_constant(current) and not _is_constant(reference)


def _is_constant(profile: Profile) -> bool:
    """Whether all finite values are one number."""
    if not isinstance(profile, NumberProfile):
        return False
    return profile.n_finite > 0 and profile.least == profile.greatest


def _constant_p(reference: NumberProfile, current: NumberProfile) -> float:
    """The probability that all rows are in one of the reference's bins by accident."""
    place = int(np.searchsorted(reference.edges.both, current.least, side="left"))
    return float((reference.counts[place] / max(reference.n_finite, 1)) ** current.n_finite)


DISTINCT_RATIO = Statistic(
    name="distinct_ratio",
    label="distinct",
    title="distinct values relative to the reference",
    meaning="Number of distinct values, over the number expected in as many rows.",
    source="sum of 1 - (1 - p)^m; H. Sanders (1968), S. Hurlbert (1971)",
    measure=distinct_ratio,
    of_equal=1.0,
    grade=grade_distinct,
    rule=f"warning below {FEW_DISTINCT:g}, critical if all values become the same",
    habit="distinct",
    distance=lambda ratio: max(0.0, 1.0 - ratio),
    views=frozenset({"page"}),
)
