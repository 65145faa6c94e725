"""How a column differs from a reference."""

from typing import Literal

from nightscore.schemas.record import Record

Severity = Literal["ok", "info", "warning", "critical", "insufficient data"]
"""`info`: a difference that is no accident, and small. `insufficient data`: too few rows to tell."""
ORDER: tuple[Severity, ...] = ("ok", "insufficient data", "info", "warning", "critical")
"""From harmless to severe."""

Signal = Literal["distribution", "nulls", "not finite", "range", "distinct", "unseen"]
"""What differs: the shares of the values; how many are missing, NaN or infinite, beyond the reference's least and
greatest, distinct; categories that the reference does not have."""

ColumnType = Literal["number", "category"]


class ColumnDrift(Record):
    """One column."""

    name: str
    type: ColumnType
    n_reference: int
    """Rows, missing ones included."""
    n_current: int
    null_rate_difference: float | None
    """Share of nulls now minus then; null where one side has no rows. NaN is no null."""
    statistics: dict[str, float | None]
    """By name; null where it is not defined, as without rows."""
    severity: Severity
    reasons: tuple[str, ...]
    signals: dict[Signal, Severity] = {}
    """What speaks for a difference, each by itself: the severity is that of the gravest."""


class DriftReport(Record):
    """All columns that both sides have, and the schema's own differences."""

    columns: tuple[ColumnDrift, ...]
    missing_columns: tuple[str, ...] = ()
    """In the reference only."""
    new_columns: tuple[str, ...] = ()
    changed_types: dict[str, str] = {}
    """Column to `then, now`; such a column is compared as what it is now, if that can be."""
    errors: dict[str, str] = {}
    """Columns that could not be compared, and why; the others are."""
    verdict: Severity
