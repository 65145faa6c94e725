"""How many values of a column are in no bin, or outside the range of its reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa

from nightscore.profiles.counting import CountSpec, NumberCounts


@dataclass(slots=True)
class Tallies:
    """Numbers of values by kind. Nulls are counted in the profile itself."""

    n_nan: int = 0
    n_high: int = 0
    """Positive infinities."""
    n_low: int = 0
    """Negative infinities."""
    n_outside: int = 0
    """Finite values outside the bounds."""

    FIELDS: ClassVar[tuple[pa.Field, ...]] = (
        pa.field("n_nan", pa.int64()),
        pa.field("n_high", pa.int64()),
        pa.field("n_low", pa.int64()),
        pa.field("n_outside", pa.int64()),
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

    def to_row(self) -> dict[str, Any]:
        """See `SufficientStatistic`."""
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """See `SufficientStatistic`."""
        return cls(**{field.name: row[field.name] for field in cls.FIELDS})

    def _add(self, more: "NumberCounts | Tallies") -> None:
        self.n_nan += more.n_nan
        self.n_high += more.n_high
        self.n_low += more.n_low
        self.n_outside += more.n_outside


STATISTIC = Tallies
