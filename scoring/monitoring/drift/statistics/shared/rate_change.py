"""Grades the change of a rate: of nulls, or of values that are not finite."""

from collections.abc import Iterator

from nightscore.monitoring.drift.statistics.shared.columns import ColumnPair
from nightscore.monitoring.drift.statistics.shared.significance import is_beyond_doubt
from nightscore.monitoring.drift.statistics.shared.statistic import Grade
from nightscore.schemas.drift import Severity, Signal

WARNING_CHANGE = 0.05
CRITICAL_CHANGE = 0.10
"""Of the rate itself: 0.10 is ten percentage points."""
RULE = (
    f"warning above a change of {100 * WARNING_CHANGE:.0f} percentage points, "
    f"critical above {100 * CRITICAL_CHANGE:.0f}"
)


def grade_rate_change(
    signal: Signal, subject: str, pair: ColumnPair, counts: tuple[int, int]
) -> Iterator[Grade]:
    """A grade if the rate changed by much, and beyond doubt.

    Args:
        signal: What the rate is about.
        subject: Plural noun for the text.
        pair: The column.
        counts: Rows that have the property, in the reference and now.
    """
    if not all(pair.n_rows):
        return

    before, now = (rate(count, n) for count, n in zip(counts, pair.n_rows, strict=True))
    change = abs(now - before)
    if not change > WARNING_CHANGE or not is_beyond_doubt(pair, counts):
        return

    severity: Severity = "critical" if change > CRITICAL_CHANGE else "warning"
    verb = "rose" if now > before else "fell"
    yield Grade(signal, severity, f"{subject} {verb} from {before:.1%} to {now:.1%}")


def rate(count: int, n_rows: int) -> float:
    """Share of the rows; nan without rows."""
    if n_rows:
        return count / n_rows
    return float("nan")
