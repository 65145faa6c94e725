"""The mean of another column by bin of a column, and a regression's errors by bin of its score."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import pyarrow as pa

ERROR_FIELDS: tuple[pa.Field, ...] = (
    pa.field("score_errors", pa.list_(pa.float64())),
    pa.field("score_absolute_errors", pa.list_(pa.float64())),
    pa.field("score_squared_errors", pa.list_(pa.float64())),
    pa.field("score_fourth_errors", pa.list_(pa.float64())),
)
"""Columns of a table of profiles that has sums of errors, in the order of `Errors`."""


class Errors(NamedTuple):
    """Sums of some rows' errors. An error is prediction minus label."""

    total: float = 0.0
    absolute: float = 0.0
    squares: float = 0.0
    fourths: float = 0.0
    """Sum of the fourth powers: how much squared errors vary."""

    def plus(self, other: "Errors") -> "Errors":
        """The sums of the rows of both."""
        return Errors(*(mine + more for mine, more in zip(self, other, strict=True)))


NO_ERRORS = Errors()


@dataclass(slots=True)
class Scores:
    """The mean of another column by bin of this one.

    Rows and sums are kept by the bin's number or the category's name.
    """

    rows: Counter[str | None] = field(default_factory=Counter)
    """Rows of each bin. Those of the key None have no value, or one that is not finite."""
    sums: dict[str | None, float] = field(default_factory=dict)
    errors: dict[str | None, Errors] | None = None
    """Sums of this column's distances from the other one. None: they are not stored, as of what is
    no regression, or of a baseline of an older version."""

    def add(self, key: str | None, n_rows: int, total: float, errors: Errors | None = None) -> None:
        """Count rows of one bin."""
        if not n_rows:
            return

        self.rows[key] += n_rows
        self.sums[key] = self.sums.get(key, 0.0) + total
        if self.errors is not None and errors is not None:
            self.errors[key] = self.errors.get(key, NO_ERRORS).plus(errors)

    @property
    def mean(self) -> float:
        """The mean over all bins; nan without rows."""
        n_rows = self.rows.total()
        return sum(self.sums.values()) / n_rows if n_rows else math.nan

    def merge(self, other: "Scores") -> None:
        """Add another part's. Errors that one of both has not stored are not known of the sum."""
        if other.errors is None:
            self.errors = None

        others_errors = other.errors or {}
        for key, n_rows in other.rows.items():
            self.add(key, n_rows, other.sums[key], others_errors.get(key))

    def copy(self) -> "Scores":
        """The same, to be added to."""
        errors = None if self.errors is None else dict(self.errors)
        return Scores(Counter(self.rows), dict(self.sums), errors)

    def to_row(self) -> dict[str, Any]:
        """The values of its columns in a table of profiles."""
        keys = sorted(self.rows, key=lambda key: (key is None, key or ""))
        row: dict[str, Any] = {
            "score_keys": keys,
            "score_rows": [self.rows[key] for key in keys],
            "score_sums": [self.sums[key] for key in keys],
        }

        if self.errors is not None:
            by_key = [self.errors.get(key, NO_ERRORS) for key in keys]
            for place, one in enumerate(ERROR_FIELDS):
                row[one.name] = [errors[place] for errors in by_key]

        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From the values of its columns, where lists of numbers are arrays."""
        keys = row["score_keys"]
        rows = dict(zip(keys, row["score_rows"].tolist(), strict=True))
        sums = dict(zip(keys, row["score_sums"].tolist(), strict=True))

        columns = [row[one.name] for one in ERROR_FIELDS]
        if any(column is None for column in columns):
            return cls(Counter(rows), sums)

        by_key = zip(*(column.tolist() for column in columns), strict=True)
        errors = {key: Errors(*numbers) for key, numbers in zip(keys, by_key, strict=True)}
        return cls(Counter(rows), sums, errors)
