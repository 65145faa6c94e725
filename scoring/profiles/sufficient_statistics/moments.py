"""Mean, variance and range of a column's finite values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa

from nightscore.profiles.counting import CountSpec, NumberCounts


@dataclass(slots=True)
class Moments:
    """Sums of a column's finite values, and their range."""

    least: float = math.inf
    """Infinite without a finite value."""
    greatest: float = -math.inf
    """Negative infinity without a finite value."""
    total: float = 0.0
    shifted: float = 0.0
    """Sum of the values' distances from the pivot."""
    squares: float = 0.0
    """Sum of the squares of these distances. Squares of values far from 0 would lose all that tells
    them apart."""

    FIELDS: ClassVar[tuple[pa.Field, ...]] = (
        pa.field("least", pa.float64()),
        pa.field("greatest", pa.float64()),
        pa.field("total", pa.float64()),
        pa.field("shifted", pa.float64()),
        pa.field("squares", pa.float64()),
    )
    IS_REQUIRED: ClassVar[bool] = True
    COUNTS_SEGMENTS: ClassVar[bool] = True
    NEEDS_VALUES: ClassVar[bool] = False

    @classmethod
    def empty(cls, spec: CountSpec) -> Self:
        """See `SufficientStatistic`."""
        return cls()

    def add(self, counts: NumberCounts) -> None:
        """See `SufficientStatistic`."""
        self._add(counts)

    def merge(self, other: Self) -> None:
        """See `SufficientStatistic`."""
        self._add(other)

    def std(self, n: int) -> float:
        """Standard deviation of `n` values, ddof 0; nan without any, or beyond float64."""
        if not n:
            return math.nan
        mean = self.shifted / n
        variance = self.squares / n - mean * mean
        return math.sqrt(max(0.0, variance)) if math.isfinite(variance) else math.nan

    def to_row(self) -> dict[str, Any]:
        """See `SufficientStatistic`."""
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """See `SufficientStatistic`."""
        return cls(**{field.name: row[field.name] for field in cls.FIELDS})

    def _add(self, more: "NumberCounts | Moments") -> None:
        self.least = min(self.least, more.least)
        self.greatest = max(self.greatest, more.greatest)
        self.total += more.total
        self.shifted += more.shifted
        self.squares += more.squares


STATISTIC = Moments
