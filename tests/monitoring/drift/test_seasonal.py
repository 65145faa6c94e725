"""What a column's history explains, and what it cannot."""

import pytest

from nightscore.monitoring.drift.compare_profiles import Comparison
from nightscore.monitoring.drift.findings import Context, judge
from nightscore.profiles.table import Habit, Key
from nightscore.schemas.drift import ColumnDrift

KEY: Key = ("feature", "x", "")


def drift_of(rate: float) -> ColumnDrift:
    """A column with so many more values that are not finite."""
    return ColumnDrift(
        name="x",
        type="number",
        n_reference=5_000,
        n_current=5_000,
        null_rate_difference=0.0,
        statistics={"not_finite_rate_difference": rate},
        severity="critical",
        reasons=("NaN or infinite values rose",),
        signals={"not finite": "critical"},
    )


def history(rate: float | None) -> Habit:
    """20 partitions; None: of a version that did not keep this rate."""
    distances = {} if rate is None else {"not finite": rate}
    return {f"2024-01-{day:02d}": distances for day in range(1, 21)}


@pytest.mark.parametrize(
    ("habit", "is_seasonal"), [(history(None), False), (history(0.0), False), (history(0.5), True)]
)
def test_values_that_are_not_finite_are_usual_only_if_they_were(
    habit: Habit, is_seasonal: bool
) -> None:
    comparisons = {"baseline": Comparison({KEY: drift_of(0.5)})}
    _, (finding,), _ = judge(comparisons, Context(partition="2024-02-01", habits={KEY: habit}))
    assert finding.is_seasonal == is_seasonal
