"""Change of the share of nulls."""

from collections.abc import Iterator

import numpy as np

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.monitoring.drift.statistics.shared.rate_change import RULE, grade_rate_change, rate
from nightscore.monitoring.drift.statistics.shared.significance import is_beyond_doubt
from nightscore.monitoring.drift.statistics.shared.statistic import Evidence, Grade, Statistic
from nightscore.profiles.bins import Floats


def null_rate_difference(group: ColumnGroup) -> Floats:
    """Share of nulls now, minus that in the reference; nan without rows. NaN is no null."""
    return np.array([_difference(pair) for pair in group.pairs])


def grade_nulls(evidence: Evidence) -> Iterator[Grade]:
    """Many more or fewer nulls than in the reference, or nothing but nulls."""
    pair = evidence.pair
    counts = (pair.reference.n_null, pair.current.n_null)

    if not all(pair.n_rows):
        return

    if counts[1] == pair.current.n_rows:
        if is_beyond_doubt(pair, counts):
            yield Grade("nulls", "critical", "all values are null")
        return

    yield from grade_rate_change("nulls", "nulls", pair, counts)


def _difference(pair: ColumnPair) -> float:
    before = rate(pair.reference.n_null, pair.reference.n_rows)
    return rate(pair.current.n_null, pair.current.n_rows) - before


NULL_RATE = Statistic(
    name="null_rate_difference",
    label="nulls",
    title="change of the null rate",
    meaning="Share of missing values now, minus their share in the reference.",
    source="nulls / rows, now minus reference",
    measure=null_rate_difference,
    grade=grade_nulls,
    rule=RULE,
    habit="nulls",
    views=frozenset({"page", "drift", "prefect", "segments"}),
    pattern="{:+.1%}",
)
