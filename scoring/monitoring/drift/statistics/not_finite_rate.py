"""Change of the share of values that are NaN or infinite."""

from collections.abc import Iterator

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.monitoring.drift.statistics.shared.rate_change import RULE, grade_rate_change, rate
from nightscore.monitoring.drift.statistics.shared.significance import is_beyond_doubt
from nightscore.monitoring.drift.statistics.shared.statistic import (
    NUMBERS,
    Evidence,
    Grade,
    Statistic,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import NumberProfile, Profile


def not_finite_rate_difference(group: ColumnGroup) -> Floats:
    """Share of NaN and infinities now, minus that in the reference; nan without rows."""
    return np.array([_difference(pair) for pair in group.pairs])


def grade_not_finite(evidence: Evidence) -> Iterator[Grade]:
    """Many more or fewer values that are NaN or infinite, or nothing else."""
    pair = evidence.pair
    reference, current = pair.reference, pair.current
    if not isinstance(reference, NumberProfile) or not isinstance(current, NumberProfile):
        return

    if reference.n_finite and not current.n_finite and current.n_odd:
        counts = (reference.n_rows - reference.n_finite, current.n_rows)
        if is_beyond_doubt(pair, counts):
            yield Grade("not finite", "critical", "no value is finite")
            return

    counts = (reference.n_odd, current.n_odd)
    yield from grade_rate_change("not finite", "NaN or infinite values", pair, counts)


def _difference(pair: ColumnPair) -> float:
    return _rate(pair.current) - _rate(pair.reference)


def _rate(profile: Profile) -> float:
    n_odd = profile.n_odd if isinstance(profile, NumberProfile) else 0
    return rate(n_odd, profile.n_rows)


NOT_FINITE_RATE = Statistic(
    name="not_finite_rate_difference",
    label="NaN or infinite",
    title="change of the rate of NaN and infinite values",
    meaning="Share of values that are NaN or infinite now, minus their share in the reference.",
    source="(NaN + infinities) / rows, now minus reference",
    applies_to=NUMBERS,
    measure=not_finite_rate_difference,
    grade=grade_not_finite,
    rule=RULE,
    habit="not finite",
    views=frozenset({"page"}),
    pattern="{:+.1%}",
)
