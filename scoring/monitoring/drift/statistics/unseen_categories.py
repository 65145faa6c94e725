"""Share of values in categories that the reference does not have."""

import math
from collections.abc import Iterator

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.monitoring.drift.statistics.shared.statistic import (
    CATEGORIES,
    Evidence,
    Grade,
    Statistic,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import CategoryProfile
from nightscore.schemas.drift import Severity

WARNING_EXCESS = 0.01
CRITICAL_EXCESS = 0.10
"""Above the share that another sample of the reference would have."""
KNOWN_CATEGORIES = 1_000
"""With more distinct ones in the reference, unseen ones are nothing special."""


def unseen_category_rate(group: ColumnGroup) -> Floats:
    """Share of the values that are not null; nan without any on either side."""
    return np.array([_rate(pair) for pair in group.pairs])


def usual_unseen_rate(reference: CategoryProfile, current: CategoryProfile) -> float:
    """Share of unseen values that another sample of the reference would hardly exceed.

    Source: I. J. Good, "The population frequencies of species" (1953): the share of values that
    occur once estimates the share of those that were not seen; and three standard errors.
    """
    n, m = reference.counts.total(), current.counts.total()
    if not n or not m:
        return math.nan
    expected = sum(count == 1 for count in reference.counts.values()) / n
    return expected + 3 * math.sqrt(max(expected, 1 / n) * (1 / n + 1 / m))


def grade_unseen(evidence: Evidence) -> Iterator[Grade]:
    """More new categories than chance explains."""
    reference, current = evidence.pair.reference, evidence.pair.current
    assert isinstance(reference, CategoryProfile)  # noqa: S101
    assert isinstance(current, CategoryProfile)  # noqa: S101

    if len(reference.counts) > KNOWN_CATEGORIES:
        return

    rate = evidence.values["unseen_category_rate"]
    excess = rate - usual_unseen_rate(reference, current)
    if excess > WARNING_EXCESS:
        severity: Severity = "critical" if excess > CRITICAL_EXCESS else "warning"
        words = f"{rate:.1%} of the values are in categories that the reference does not have"
        yield Grade("unseen", severity, words)


def _rate(pair: ColumnPair) -> float:
    reference, current = pair.reference, pair.current
    assert isinstance(reference, CategoryProfile)  # noqa: S101
    assert isinstance(current, CategoryProfile)  # noqa: S101
    n_values = current.counts.total()
    if not n_values or not reference.counts:
        return math.nan
    unseen = [count for name, count in current.counts.items() if name not in reference.counts]
    return sum(unseen) / n_values


UNSEEN_CATEGORIES = Statistic(
    name="unseen_category_rate",
    label="new categories",
    title="share of values in new categories",
    meaning="Share of values in categories that the reference does not have.",
    source="values in new categories / values; its usual share by I. J. Good (1953)",
    applies_to=CATEGORIES,
    measure=unseen_category_rate,
    grade=grade_unseen,
    rule=(
        f"warning {WARNING_EXCESS:.0%} above what sampling explains, "
        f"critical {CRITICAL_EXCESS:.0%} above"
    ),
    habit="unseen",
    views=frozenset({"page"}),
    pattern="{:.1%}",
)
