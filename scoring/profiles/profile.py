"""Counts of a column's values: of numbers in bins, of categories by name. Merged by addition, whatever the split."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.inputs.casts import plain_type
from nightscore.native.machine_code import loaded_kernels
from nightscore.profiles.bins import DECILE_BINS, FINE_BINS, Counts, Floats, quantile_edges
from nightscore.profiles.counting import (
    ColumnCounter,
    Counted,
    Measure,
    count_by_sorting,
    count_categories,
)
from nightscore.profiles.distinct import DistinctValues
from nightscore.profiles.numbers import LISTS

Kind = Literal["number", "category"]
ADDED = (
    "n_rows",
    "n_null",
    "n_nan",
    "n_high",
    "n_low",
    "counts",
    "sums",
    "total",
    "shifted",
    "squares",
    "n_outside",
)
"""Of a column of numbers."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Of a column's bins, cut at its reference."""

    fine: Floats
    deciles: Floats
    both: Floats = field(init=False)
    """Counted are the bins between all of them, of which either's are sums."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "both", np.union1d(self.fine, self.deciles))

    @classmethod
    def of(cls, finite: Floats) -> Self:
        ordered = np.sort(finite)
        return cls(quantile_edges(ordered, FINE_BINS), quantile_edges(ordered, DECILE_BINS))

    @property
    def pivot(self) -> float:
        """A value in the middle of the reference."""
        return float(self.both[len(self.both) // 2]) if len(self.both) else 0.0

    def equals(self, other: "Edges") -> bool:
        if self is other:
            return True
        return np.array_equal(self.fine, other.fine) and np.array_equal(self.deciles, other.deciles)

    def fold(self, values: npt.NDArray[Any], edges: Floats) -> npt.NDArray[Any]:
        """Sums over the bins between `edges`, which are some of `both`, of what each bin between all of them has."""
        bins = np.append(np.searchsorted(edges, self.both, side="left"), len(edges))
        return np.bincount(bins, weights=values, minlength=len(edges) + 1).astype(values.dtype)


@dataclass(slots=True)
class NumberProfile:
    """A column of numbers. Nulls, NaN and infinities are counted apart and enter no bin."""

    edges: Edges
    n_rows: int = 0
    n_null: int = 0
    n_nan: int = 0
    n_high: int = 0
    """Positive infinities."""
    n_low: int = 0
    counts: Counts = field(default_factory=lambda: np.empty(0, np.int64))
    """Finite values in each bin between `edges.both`."""
    sums: Floats = field(default_factory=lambda: np.empty(0))
    least: float = np.inf
    greatest: float = -np.inf
    total: float = 0.0
    shifted: float = 0.0
    """Sum of the finite values' distances from `edges.pivot`, and of their squares: of values far from 0, squares
    about 0 would lose all that tells them apart."""
    squares: float = 0.0
    n_outside: int = 0
    """Finite values outside `bounds`."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    distinct: DistinctValues | None = field(default_factory=DistinctValues)
    """Of the finite values; None: not counted, as of a segment."""
    kind: ClassVar[Kind] = "number"
    _counter: ColumnCounter | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not len(self.counts):
            self.counts = np.zeros(len(self.edges.both) + 1, np.int64)
            self.sums = np.zeros(len(self.edges.both) + 1)

    @property
    def fine(self) -> Counts:
        return self.edges.fold(self.counts, self.edges.fine)

    @property
    def fine_sums(self) -> Floats:
        return self.edges.fold(self.sums, self.edges.fine)

    @property
    def deciles(self) -> Counts:
        return self.edges.fold(self.counts, self.edges.deciles)

    @property
    def n_finite(self) -> int:
        return int(self.counts.sum())

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest finite value; all numbers without one."""
        return (self.least, self.greatest) if self.n_finite else (-np.inf, np.inf)

    @property
    def std(self) -> float:
        """Of the finite values, ddof 0."""
        n = self.n_finite
        if not n:
            return float("nan")
        mean = self.shifted / n
        variance = self.squares / n - mean * mean
        return math.sqrt(max(0.0, variance)) if math.isfinite(variance) else float("nan")

    @property
    def n_odd(self) -> int:
        """NaN and infinities."""
        return self.n_nan + self.n_high + self.n_low

    @property
    def mean(self) -> float:
        """Of the finite values; nan without any."""
        return self.total / self.n_finite if self.n_finite else float("nan")

    @property
    def n_distinct(self) -> float:
        """Distinct finite values, estimated above a hundred; nan where they are not counted."""
        return self.distinct.estimate if self.distinct is not None else float("nan")

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a batch's values: by machine code in a process that has loaded it for its model."""
        low, high = self.bounds
        by, kernels = (
            Measure(self.edges.both, self.edges.pivot, (float(low), float(high))),
            loaded_kernels(),
        )
        if kernels is None:
            self._take(count_by_sorting(column, by, self.distinct))
            return
        if self._counter is None:
            self._counter = ColumnCounter(by, kernels)
        for found in self._counter.count(column, self.distinct):
            self._take(found)

    def _take(self, found: "Counted | NumberProfile") -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            for name in ADDED:
                setattr(self, name, getattr(self, name) + getattr(found, name))
        self.least, self.greatest = min(self.least, found.least), max(self.greatest, found.greatest)

    def merge(self, other: "NumberProfile") -> None:
        """Add another part's counts.

        Raises:
            ValueError: It has other bins.
        """
        if not self.edges.equals(other.edges):
            raise ValueError("profiles over different bins cannot be added")
        self._take(other)
        if self.distinct is not None and other.distinct is not None:
            self.distinct.merge(other.distinct)
        else:
            self.distinct = None


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
        return float("nan") if self.is_cut else float(len(self.counts))

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a batch's values."""
        if pa.types.is_dictionary(column.type) and any(
            chunk.dictionary.null_count for chunk in column.chunks
        ):
            column = column.cast(
                column.type.value_type
            )  # a null may stand among the values as well
        self.n_rows += len(column)
        self.n_null += column.null_count
        if self.is_cut:
            return
        for value, count in count_categories(column):
            self.counts[str(value).lower() if isinstance(value, bool) else str(value)] += count
        self._cut()

    def merge(self, other: "CategoryProfile") -> None:
        """Add another part's counts."""
        self.n_rows += other.n_rows
        self.n_null += other.n_null
        self.counts.update(other.counts)
        self.is_cut = self.is_cut or other.is_cut
        self._cut()

    def _cut(self) -> None:
        if self.is_cut or (self.limit is not None and len(self.counts) > self.limit):
            self.is_cut = True
            self.counts.clear()


Profile = NumberProfile | CategoryProfile


def kind_of(kind: pa.DataType) -> Kind | None:
    """How a column is compared; None: not at all."""
    plain = plain_type(kind)
    if pa.types.is_boolean(plain) or pa.types.is_string(plain):
        return "category"
    numbers = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_date,
        pa.types.is_timestamp,
        pa.types.is_duration,
        pa.types.is_time,
        *LISTS,
    )
    return "number" if any(test(plain) for test in numbers) else None
