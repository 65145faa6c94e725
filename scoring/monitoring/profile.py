"""Counts of a column's values: of numbers in bins, of categories by name. Merged by addition, whatever the split."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoring.inputs.casts import plain_type
from scoring.models.features import numeric_values
from scoring.monitoring.bins import DECILE_BINS, FINE_BINS, Counts, Floats, count_sorted, quantile_edges
from scoring.monitoring.distinct import DistinctValues

Kind = Literal["number", "category"]
LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


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
        """Count a batch's values."""
        values, n_null = as_numbers(column)
        values = np.sort(values)  # NaN last, infinities at the ends of the others
        low, high, there = np.searchsorted(values, [-np.finfo(np.float64).max, np.inf, np.nan])
        finite = values[low:high]
        self.n_rows += len(column)
        self.n_null += n_null
        self.n_low += int(low)
        self.n_high += int(there - high)
        self.n_nan += int(len(values) - there)
        if not len(finite):
            return
        if self.distinct is not None:
            self.distinct.add(finite)
        counts, sums = count_sorted(finite, self.edges.both)
        self.counts += counts
        self.sums += sums
        self.least, self.greatest = min(self.least, float(finite[0])), max(self.greatest, float(finite[-1]))
        self.n_outside += int(np.searchsorted(finite, self.bounds[0], "left"))
        self.n_outside += len(finite) - int(np.searchsorted(finite, self.bounds[1], "right"))
        with np.errstate(over="ignore"):
            self.total += float(finite.sum())
            finite = finite - self.edges.pivot
            self.shifted += float(finite.sum())
            self.squares += float(np.einsum("i,i->", finite, finite))  # a dot product would start threads of BLAS

    def merge(self, other: "NumberProfile") -> None:
        """Add another part's counts.

        Raises:
            ValueError: It has other bins.
        """
        if not self.edges.equals(other.edges):
            raise ValueError("profiles over different bins cannot be added")
        for name in ("n_rows", "n_null", "n_nan", "n_high", "n_low", "total", "shifted", "squares", "n_outside"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.counts = self.counts + other.counts
        self.sums = self.sums + other.sums
        if self.distinct is not None and other.distinct is not None:
            self.distinct.merge(other.distinct)
        else:
            self.distinct = None
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)


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
        if pa.types.is_dictionary(column.type) and any(chunk.dictionary.null_count for chunk in column.chunks):
            column = column.cast(column.type.value_type)  # a null may stand among the values as well
        self.n_rows += len(column)
        self.n_null += column.null_count
        if self.is_cut:
            return
        if pa.types.is_large_string(column.type) or column.type == pa.string_view():
            column = column.cast(pa.string())
        found = pc.value_counts(pc.drop_null(column))
        for value, count in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
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


def finite_values(columns: Iterable[pa.ChunkedArray]) -> Floats:
    """The finite values of all batches, as `as_numbers` gives them."""
    numbers: Floats = np.concatenate([np.empty(0), *(as_numbers(column)[0] for column in columns)])
    return numbers[np.isfinite(numbers)]


def as_numbers(column: pa.ChunkedArray) -> tuple[Floats, int]:
    """The values that are not null as float64, and how many are.

    Dates are days since 1970, timestamps, times and durations seconds, decimals floats, lists their lengths.
    """
    n_null = int(column.null_count)
    column = pc.drop_null(column.cast(plain_type(column.type)))
    kind = column.type
    scale = 1.0
    if any(test(kind) for test in LISTS):
        column = pc.list_value_length(column)
    elif pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_date64(kind):
        column, scale = column.cast(pa.int64()), 1 / 86_400_000
    elif pa.types.is_time32(kind):
        column, scale = column.cast(pa.int32()), SECONDS[kind.unit]
    elif pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        column, scale = column.cast(pa.int64()), SECONDS[kind.unit]
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    chunks: list[Floats] = [numeric_values(chunk).astype(np.float64, copy=False) for chunk in column.chunks]
    values = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])
    return values if scale == 1.0 else values * scale, n_null
