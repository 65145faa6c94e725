"""Counts of a column's values: of numbers in bins, of categories by name.

They are merged by addition, and are the same under any split.
"""

import copy
import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa

from nightscore.inputs.casts import plain_type
from nightscore.native.constants import COLUMNS_TOGETHER
from nightscore.native.machine_code import Kernels, loaded_kernels
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.counting import (
    CountSpec,
    NumberCounter,
    NumberCounts,
    ToCount,
    count_by_sorting,
    count_categories,
    count_together,
)
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import LISTS
from nightscore.profiles.sufficient_statistic_catalog import SufficientStatistic, all_statistics
from nightscore.profiles.sufficient_statistics.binned import BinnedValues
from nightscore.profiles.sufficient_statistics.distinct import DistinctValues
from nightscore.profiles.sufficient_statistics.moments import Moments
from nightscore.profiles.sufficient_statistics.tallies import Tallies

Kind = Literal["number", "category"]
NUMBERS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_duration,
    pa.types.is_time,
    *LISTS,
)
"""Tests for types that are compared as numbers."""
Statistics = dict[str, SufficientStatistic]
"""Statistics by the names of their modules."""


@dataclass(slots=True, kw_only=True)
class NumberProfile:
    """A column of numbers. Nulls, NaN and infinities are counted apart and enter no bin."""

    edges: Edges
    bounds: tuple[float, float] = (-np.inf, np.inf)
    n_rows: int = 0
    n_null: int = 0
    statistics: Statistics = field(default_factory=dict)
    """What the values are summed up in. What is not in it was not counted."""
    kind: ClassVar[Kind] = "number"
    _counter: NumberCounter | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def empty(
        cls,
        edges: Edges,
        bounds: tuple[float, float] = (-np.inf, np.inf),
        *,
        is_segment: bool = False,
    ) -> Self:
        """The profile of no values.

        Args:
            edges: Edges of the bins.
            bounds: Finite values beyond them are counted as outside.
            is_segment: Leave out the statistics that are not counted for segments.
        """
        spec = CountSpec(edges.both, edges.pivot, (float(bounds[0]), float(bounds[1])))
        statistics: Statistics = {
            name: statistic.empty(spec)
            for name, statistic in all_statistics().items()
            if statistic.COUNTS_SEGMENTS or not is_segment
        }

        return cls(edges=edges, bounds=bounds, statistics=statistics)

    @property
    def needs_values(self) -> bool:
        """Whether a statistic reads the values of each chunk."""
        return any(statistic.NEEDS_VALUES for statistic in self.statistics.values())

    @property
    def tallies(self) -> Tallies:
        """Values that are in no bin, or outside the bounds."""
        return self.statistics["tallies"]  # type: ignore[return-value]

    @property
    def binned(self) -> BinnedValues:
        """Finite values in the bins between `edges.both`."""
        return self.statistics["binned"]  # type: ignore[return-value]

    @property
    def moments(self) -> Moments:
        """Sums and range of the finite values."""
        return self.statistics["moments"]  # type: ignore[return-value]

    @property
    def distinct(self) -> DistinctValues | None:
        """Distinct finite values; None: not counted, as of a segment."""
        return self.statistics.get("distinct")  # type: ignore[return-value]

    @property
    def counts(self) -> Counts:
        """Finite values in each bin between `edges.both`."""
        return self.binned.counts

    @property
    def sums(self) -> Floats:
        """Sums of the finite values in each bin between `edges.both`."""
        return self.binned.sums

    @property
    def fine(self) -> Counts:
        """Finite values in each bin between `edges.fine`."""
        return self.edges.fold(self.counts, self.edges.fine)

    @property
    def fine_sums(self) -> Floats:
        """Sums of the finite values in each bin between `edges.fine`."""
        return self.edges.fold(self.sums, self.edges.fine)

    @property
    def deciles(self) -> Counts:
        """Finite values in each bin between `edges.deciles`."""
        return self.edges.fold(self.counts, self.edges.deciles)

    @property
    def n_finite(self) -> int:
        """Finite values."""
        return self.binned.n_values

    @property
    def n_nan(self) -> int:
        """Values that are NaN."""
        return self.tallies.n_nan

    @property
    def n_missing(self) -> int:
        """Nulls, and values that are NaN."""
        return self.n_null + self.n_nan

    @property
    def n_high(self) -> int:
        """Positive infinities."""
        return self.tallies.n_high

    @property
    def n_low(self) -> int:
        """Negative infinities."""
        return self.tallies.n_low

    @property
    def n_odd(self) -> int:
        """NaN and infinities."""
        tallies = self.tallies
        return tallies.n_nan + tallies.n_high + tallies.n_low

    @property
    def n_outside(self) -> int:
        """Finite values outside `bounds`."""
        return self.tallies.n_outside

    @property
    def least(self) -> float:
        """Least finite value; infinite without one."""
        return self.moments.least

    @property
    def greatest(self) -> float:
        """Greatest finite value; negative infinity without one."""
        return self.moments.greatest

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest finite value; all numbers without one."""
        if not self.n_finite:
            return -np.inf, np.inf
        return self.least, self.greatest

    @property
    def total(self) -> float:
        """Sum of the finite values."""
        return self.moments.total

    @property
    def mean(self) -> float:
        """Mean of the finite values; nan without any."""
        return self.total / self.n_finite if self.n_finite else math.nan

    @property
    def std(self) -> float:
        """Standard deviation of the finite values, ddof 0; nan without any."""
        return self.moments.std(self.n_finite)

    @property
    def n_distinct(self) -> float:
        """Distinct finite values, estimated above a hundred; nan where they are not counted."""
        return math.nan if self.distinct is None else self.distinct.estimate

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a batch's values: by machine code in a process that has loaded it for its model."""
        kernels = loaded_kernels()
        if kernels is None:
            self.add_counts(count_by_sorting(column, self._spec, self._known_hashes))
            return

        for chunk in column.chunks:
            to_count = ToCount(self.counter(kernels), chunk, self._known_hashes)
            _add_alike([(self, to_count)])

    def add_counts(self, counts: NumberCounts) -> None:
        """Add what was counted of its column."""
        self.n_rows += counts.n_rows
        self.n_null += counts.n_null
        with np.errstate(over="ignore", invalid="ignore"):
            for statistic in self.statistics.values():
                statistic.add(counts)

    def counter(self, kernels: Kernels) -> NumberCounter:
        """What counts its column by machine code."""
        if self._counter is None:
            self._counter = NumberCounter(self._spec, kernels)
        return self._counter

    def merge(self, other: "NumberProfile") -> None:
        """Add another part's counts.

        Raises:
            ValueError: It has other bins.
        """
        if not self.edges.equals(other.edges):
            raise ValueError("profiles over different bins cannot be added")

        self.n_rows += other.n_rows
        self.n_null += other.n_null

        # What one part did not count is not known of the sum.
        for name in self.statistics.keys() - other.statistics.keys():
            del self.statistics[name]

        with np.errstate(over="ignore", invalid="ignore"):
            for name, statistic in self.statistics.items():
                statistic.merge(other.statistics[name])

    def copy(self) -> "NumberProfile":
        """The same, to be added to."""
        statistics = {name: copy.copy(one) for name, one in self.statistics.items()}
        return replace(self, statistics=statistics)

    @property
    def _spec(self) -> CountSpec:
        low, high = self.bounds
        return CountSpec(self.edges.both, self.edges.pivot, (float(low), float(high)))

    @property
    def _known_hashes(self) -> Any:
        return None if self.distinct is None else self.distinct.hashes


def add_together(profiles: Sequence[NumberProfile], columns: Sequence[pa.ChunkedArray]) -> None:
    """Count a batch's values of many columns: those of equally many bins in one call.

    Args:
        profiles: Each is added to.
        columns: One for each profile.
    """
    kernels = loaded_kernels()
    if kernels is None:
        for profile, column in zip(profiles, columns, strict=True):
            profile.add(column)
        return

    # The first chunks of all columns, then the second ones: a column's follow one another.
    n_chunks = max((column.num_chunks for column in columns), default=0)
    for number in range(n_chunks):
        by_shape: dict[tuple[int, bool], list[tuple[NumberProfile, ToCount]]] = {}
        for profile, column in zip(profiles, columns, strict=True):
            if number < column.num_chunks:
                chunk = column.chunk(number)
                to_count = ToCount(profile.counter(kernels), chunk, profile._known_hashes)
                by_shape.setdefault(to_count.shape, []).append((profile, to_count))

        for alike in by_shape.values():
            for first in range(0, len(alike), COLUMNS_TOGETHER):
                _add_alike(alike[first : first + COLUMNS_TOGETHER])


def _add_alike(alike: Sequence[tuple[NumberProfile, ToCount]]) -> None:
    found = count_together([to_count for _, to_count in alike])
    for (profile, _), counts in zip(alike, found, strict=True):
        profile.add_counts(counts)


@dataclass(slots=True)
class CategoryProfile:
    """A column of names."""

    n_rows: int = 0
    n_null: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    is_cut: bool = False
    """It has more distinct values than `limit`: an identifier, whose values are not counted."""
    limit: int | None = None
    kind: ClassVar[Kind] = "category"

    @property
    def n_distinct(self) -> float:
        """Distinct values; nan of an identifier."""
        return math.nan if self.is_cut else float(len(self.counts))

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a batch's values."""
        if _has_null_category(column):
            column = column.cast(column.type.value_type)

        self.n_rows += len(column)
        self.n_null += column.null_count

        if self.is_cut:
            return

        for value, count in count_categories(column):
            self.counts[category_name(value)] += count

        self._cut()

    def merge(self, other: "CategoryProfile") -> None:
        """Add another part's counts."""
        self.n_rows += other.n_rows
        self.n_null += other.n_null
        self.counts.update(other.counts)
        self.is_cut = self.is_cut or other.is_cut
        self._cut()

    def copy(self) -> "CategoryProfile":
        """The same, to be added to."""
        return replace(self, counts=Counter(self.counts))

    def _cut(self) -> None:
        is_beyond = self.limit is not None and len(self.counts) > self.limit
        if self.is_cut or is_beyond:
            self.is_cut = True
            self.counts.clear()


Profile = NumberProfile | CategoryProfile


def _has_null_category(column: pa.ChunkedArray) -> bool:
    """Whether a null is among the values of a dictionary."""
    if not pa.types.is_dictionary(column.type):
        return False
    return any(chunk.dictionary.null_count for chunk in column.chunks)


def category_name(value: Any) -> str:
    """The name of a category that is a text or a truth value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.lru_cache(maxsize=256)
def kind_of(arrow_type: pa.DataType) -> Kind | None:
    """How a column is compared; None: not at all."""
    plain = plain_type(arrow_type)
    if pa.types.is_boolean(plain) or pa.types.is_string(plain):
        return "category"
    if any(is_one(plain) for is_one in NUMBERS):
        return "number"
    return None
