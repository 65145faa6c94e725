"""How many finite values of a column are in each bin, and their sums."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.counting import CountSpec, NumberCounts


@dataclass(slots=True)
class BinnedValues:
    """A histogram, and the sum of the values in each bin."""

    counts: Counts
    """Finite values in each bin, shape (bins,)."""
    sums: Floats
    """Sums of these values, of the same shape."""
    _n_values: int | None = field(default=None, init=False, repr=False, compare=False)

    FIELDS: ClassVar[tuple[pa.Field, ...]] = (
        pa.field("counts", pa.list_(pa.int64())),
        pa.field("sums", pa.list_(pa.float64())),
    )
    IS_REQUIRED: ClassVar[bool] = True
    COUNTS_SEGMENTS: ClassVar[bool] = True
    NEEDS_VALUES: ClassVar[bool] = False

    @classmethod
    def empty(cls, spec: CountSpec) -> Self:
        """See `SufficientStatistic`."""
        n_bins = len(spec.edges) + 1
        return cls(np.zeros(n_bins, np.int64), np.zeros(n_bins))

    @property
    def n_values(self) -> int:
        """Finite values. A comparison asks for them a dozen times, so they are summed once."""
        if self._n_values is None:
            self._n_values = int(self.counts.sum())
        return self._n_values

    def add(self, counts: NumberCounts) -> None:
        """See `SufficientStatistic`."""
        self._add(counts)

    def merge(self, other: Self) -> None:
        """See `SufficientStatistic`."""
        self._add(other)

    def to_row(self) -> dict[str, Any]:
        """See `SufficientStatistic`."""
        return {"counts": self.counts, "sums": self.sums}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """See `SufficientStatistic`."""
        if row["counts"] is None or row["sums"] is None:
            raise TypeError("a list is missing")
        return cls(row["counts"], row["sums"])

    def _add(self, more: "NumberCounts | BinnedValues") -> None:
        self.counts = self.counts + more.counts
        self.sums = self.sums + more.sums
        self._n_values = None


STATISTIC = BinnedValues
