"""Counts of a column's values: of numbers in bins, of categories by name. Merged by addition, whatever the split."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoring.inputs.casts import plain_type
from scoring.models.features import numeric_values
from scoring.monitoring.bins import DECILE_BINS, FINE_BINS, Counts, Floats, count_bins, quantile_edges

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Edges:
    """Of a column's bins, cut at its reference."""

    fine: Floats
    deciles: Floats

    @classmethod
    def of(cls, finite: Floats) -> Self:
        return cls(quantile_edges(finite, FINE_BINS), quantile_edges(finite, DECILE_BINS))


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
    fine: Counts = field(default_factory=lambda: np.empty(0, np.int64))
    fine_sums: Floats = field(default_factory=lambda: np.empty(0))
    deciles: Counts = field(default_factory=lambda: np.empty(0, np.int64))
    least: float = np.inf
    greatest: float = -np.inf
    total: float = 0.0
    squares: float = 0.0
    n_outside: int = 0
    """Finite values outside `bounds`."""
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def __post_init__(self) -> None:
        if not len(self.fine):
            self.fine = np.zeros(len(self.edges.fine) + 1, np.int64)
            self.fine_sums = np.zeros(len(self.edges.fine) + 1)
            self.deciles = np.zeros(len(self.edges.deciles) + 1, np.int64)

    @property
    def n_finite(self) -> int:
        return int(self.fine.sum())

    @property
    def std(self) -> float:
        """Of the finite values, ddof 0."""
        n = self.n_finite
        return float(np.sqrt(max(0.0, self.squares / n - (self.total / n) ** 2))) if n else float("nan")

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a batch's values."""
        values, n_null = as_numbers(column)
        nan, high, low = np.isnan(values), np.isposinf(values), np.isneginf(values)
        finite = values[~(nan | high | low)]
        self.n_rows += len(column)
        self.n_null += n_null
        self.n_nan += int(nan.sum())
        self.n_high += int(high.sum())
        self.n_low += int(low.sum())
        if not len(finite):
            return
        counts, sums = count_bins(finite, self.edges.fine)
        self.fine += counts
        self.fine_sums += sums
        self.deciles += count_bins(finite, self.edges.deciles)[0]
        self.least, self.greatest = min(self.least, float(finite.min())), max(self.greatest, float(finite.max()))
        self.total += float(finite.sum())
        self.squares += float(np.square(finite).sum())
        self.n_outside += int(((finite < self.bounds[0]) | (finite > self.bounds[1])).sum())


@dataclass(slots=True)
class CategoryProfile:
    """A column of names."""

    n_rows: int = 0
    n_null: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, column: pa.ChunkedArray) -> None:
        """Count a batch's values."""
        self.n_rows += len(column)
        self.n_null += column.null_count
        plain = column.cast(plain_type(column.type))
        for item in pc.value_counts(pc.drop_null(plain)):
            value, count = item["values"].as_py(), item["counts"].as_py()
            self.counts[str(value).lower() if isinstance(value, bool) else str(value)] += count


def kind_of(kind: pa.DataType) -> Literal["number", "category"] | None:
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
    )
    if any(test(plain) for test in numbers) or pa.types.is_list(plain) or pa.types.is_large_list(plain):
        return "number"
    return None


def as_numbers(column: pa.ChunkedArray) -> tuple[Floats, int]:
    """The values that are not null as float64, and how many are.

    Dates are days since 1970, timestamps seconds, decimals floats, lists their lengths.
    """
    n_null = int(column.null_count)
    column = pc.drop_null(column.cast(plain_type(column.type)))
    kind = column.type
    scale = 1.0
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        column = pc.list_value_length(column)
    elif pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_date64(kind):
        column, scale = column.cast(pa.int64()), 1 / 86_400_000
    elif pa.types.is_timestamp(kind):
        column, scale = column.cast(pa.int64()), SECONDS[kind.unit]
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    chunks: Iterable[Floats] = (numeric_values(chunk).astype(np.float64) for chunk in column.chunks)
    return np.concatenate([np.empty(0), *chunks]) * scale, n_null
