"""How a column differs from a reference."""

from typing import Literal

from nightscore.schemas.base_record import Record

Severity = Literal["ok", "info", "warning", "critical", "insufficient data"]
"""`info`: a small difference that is not chance. `insufficient data`: too few rows to tell."""
ORDER: tuple[Severity, ...] = ("ok", "insufficient data", "info", "warning", "critical")
"""From harmless to severe."""
REFERENCES = ("baseline", "weekdays", "previous")
"""What a partition is compared with. The first that there is sets the severity."""

Signal = Literal["distribution", "nulls", "not finite", "range", "distinct", "unseen"]
"""What differs: the distribution of the values; how many are missing; how many are NaN or infinite;
how many are outside of the reference's range; how many are distinct; or new categories."""

ColumnType = Literal["number", "category"]


def is_at_least(severity: Severity, bound: Severity) -> bool:
    """Whether a severity is this one or worse."""
    return ORDER.index(severity) >= ORDER.index(bound)


class ColumnDrift(Record):
    """The difference of one column from a reference."""

    name: str
    type: ColumnType
    n_reference: int
    """Rows of the reference, missing values included."""
    n_current: int
    null_rate_difference: float | None
    """Current share of nulls minus the reference's; null if one side has no rows. NaN is not
    null."""
    statistics: dict[str, float | None]
    """Statistics by name; null where one is not defined, as without rows."""
    severity: Severity
    reasons: tuple[str, ...]
    signals: dict[Signal, Severity] = {}
    """Each kind of difference by itself. The column's severity is that of the worst."""


class DriftReport(Record):
    """The columns that both sides have, and the differences of the schemas."""

    columns: tuple[ColumnDrift, ...]
    missing_columns: tuple[str, ...] = ()
    """Columns of the reference only."""
    new_columns: tuple[str, ...] = ()
    changed_types: dict[str, str] = {}
    """Column to `reference type, current type`. It is compared as the current type if possible."""
    errors: dict[str, str] = {}
    """Columns that could not be compared, and why. The others are compared."""
    verdict: Severity
