"""What a drift statistic declares: its name, formula, thresholds, and the words for people."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from nightscore.monitoring.drift.statistics.shared.columns import ColumnGroup, ColumnPair
from nightscore.profiles.bins import Floats
from nightscore.schemas.drift import ColumnType, Severity, Signal

View = Literal["page", "drift", "history", "prefect", "segments"]
"""Where a figure is shown: the report, `nightscore drift`, `nightscore history`, the Prefect table.
`segments`: it is stored for the columns of segments too, which are many."""

BOTH: frozenset[ColumnType] = frozenset({"number", "category"})
NUMBERS: frozenset[ColumnType] = frozenset({"number"})
CATEGORIES: frozenset[ColumnType] = frozenset({"category"})


@dataclass(frozen=True, slots=True)
class Grade:
    """One thing that differs, how severe that is, and the words for people."""

    signal: Signal
    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about the difference of one column."""

    pair: ColumnPair
    values: Mapping[str, float]
    """Statistic to value; nan where it is not defined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number about a column, and how people meet it."""

    name: str
    """In stored tables and records. It never changes."""
    label: str
    """A few characters, for the head of a table."""
    title: str
    """The field's own term, for texts."""
    meaning: str
    """One plain sentence."""
    views: frozenset[View] = frozenset()
    pattern: str = "{:.2f}"
    """How a value is written in a text."""
    least: float = 0.0
    """Smaller positive values are written as "< least"."""

    def show(self, value: float | None) -> str:
        """The value for a text; empty if it is not known."""
        if value is None or math.isnan(value):
            return ""
        if 0 <= value < self.least:
            return f"< {self.least:g}"
        return self.pattern.format(value)

    @property
    def thresholds(self) -> str:
        """When it is a warning and when critical, in words; empty: it grades nothing."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic(Figure):
    """A number that says how far a column is from its reference.

    It is measured by `measure`, or by `across` where it depends on the other columns.
    """

    source: str
    """Formula and its reference."""
    applies_to: frozenset[ColumnType] = BOTH
    measure: Callable[[ColumnGroup], Floats] | None = None
    """Shape (number of columns,), nan where it is not defined, as for a side without rows."""
    across: Callable[[Mapping[str, Floats]], Floats] | None = None
    """From the other statistics of all columns that are compared together."""
    of_equal: float = 0.0
    """Its value for two equal profiles; nan: it depends on the number of rows."""
    is_symmetric: bool = False
    """Whether it stays the same if the two sides are swapped."""
    warning: float | None = None
    """From this value on the distribution is a warning, if the difference is significant."""
    critical: float | None = None
    graded_types: frozenset[ColumnType] = BOTH
    """Types of columns that these thresholds grade."""
    grade: Callable[[Evidence], Iterator[Grade]] | None = None
    """Its own rule, where two thresholds do not say it."""
    rule: str = ""
    """That rule in words."""
    habit: str = ""
    """Name of the distance that a column's history keeps; empty: none."""
    distance: Callable[[float], float] = abs
    """From a value to that distance; 0 is no difference."""
    p_value: str = ""
    """Statistic whose value is the p-value of this one; so for the next two."""
    q_value: str = ""
    noise_floor: str = ""

    @property
    def thresholds(self) -> str:
        """When it is a warning and when critical, in words; empty: it grades nothing."""
        if self.warning is not None and self.critical is not None:
            return f"warning above {self.warning:g}, critical above {self.critical:g}"
        return self.rule

    def grade_value(self, value: float) -> Grade | None:
        """What the thresholds make of a value; None: nothing."""
        bounds: tuple[tuple[Severity, float | None], ...] = (
            ("critical", self.critical),
            ("warning", self.warning),
        )
        for severity, bound in bounds:
            if bound is not None and value >= bound:
                reason = f"{self.title} {self.show(value)} ({severity} above {bound:g})"
                return Grade("distribution", severity, reason)
        return None
