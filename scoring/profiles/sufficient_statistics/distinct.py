"""How many distinct values a column has, in little memory and the same under any split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import pyarrow as pa

from nightscore.profiles.bins import Floats
from nightscore.profiles.counting import CountSpec, NumberCounts
from nightscore.profiles.hashes import MAX_HASHES, Hashes, add_sorted, merge_hashes, no_hashes


@dataclass(slots=True)
class DistinctValues:
    """The least hashes of a column of numbers.

    Source: Z. Bar-Yossef et al., "Counting distinct elements in a data stream" (2002), algorithm 1.
    Of n distinct values with uniform hashes in (0, 1], the k-th least hash is about k / n. Exact
    below `MAX_HASHES` values.
    """

    hashes: Hashes = field(default_factory=no_hashes)

    FIELDS: ClassVar[tuple[pa.Field, ...]] = (pa.field("hashes", pa.list_(pa.uint64())),)
    IS_REQUIRED: ClassVar[bool] = True
    COUNTS_SEGMENTS: ClassVar[bool] = False
    NEEDS_VALUES: ClassVar[bool] = False

    @classmethod
    def empty(cls, spec: CountSpec) -> Self:
        """See `SufficientStatistic`."""
        return cls()

    def add(self, counts: NumberCounts) -> None:
        """See `SufficientStatistic`."""
        if counts.hashes is not None:
            self.hashes = merge_hashes(self.hashes, counts.hashes)

    def add_sorted(self, ordered: Floats) -> None:
        """Add finite values in ascending order."""
        self.hashes = add_sorted(self.hashes, ordered)

    def merge(self, other: Self) -> None:
        """See `SufficientStatistic`."""
        self.hashes = merge_hashes(self.hashes, other.hashes)

    @property
    def estimate(self) -> float:
        """Distinct values; a whole number where it is exact."""
        n_hashes = len(self.hashes)
        if n_hashes < MAX_HASHES:
            return float(n_hashes)
        return (MAX_HASHES - 1) / (float(self.hashes[-1]) / 2.0**64)

    def to_row(self) -> dict[str, Any]:
        """See `SufficientStatistic`."""
        return {"hashes": self.hashes}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        """See `SufficientStatistic`."""
        return None if row["hashes"] is None else cls(row["hashes"])


STATISTIC = DistinctValues
