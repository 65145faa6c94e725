"""Which columns of a partition are profiled, over which bins; and the counting, batch by batch, in a worker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from scoring.monitoring.profile import CategoryProfile, Edges, Kind, NumberProfile, as_numbers, finite_values, kind_of
from scoring.monitoring.table import ColumnProfile, Key, Role, Scores

MAX_CATEGORIES = 100_000
"""More distinct values than that are an identifier's: about 20 MB a column and worker."""


@dataclass(frozen=True, slots=True)
class WatchedColumn:
    """One column to profile."""

    role: Role
    name: str
    edges: Edges | None
    """Of a column of numbers; None: categories."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """Least and greatest value of the reference that cut the bins."""


def watch_column(role: Role, name: str, like: Mapping[Key, ColumnProfile], kind: pa.DataType) -> WatchedColumn | None:
    """A column over the bins of the same column before; None where that has none that fit."""
    if kind_of(kind) == "category":
        return WatchedColumn(role, name, None)
    found = like.get((role, name, ""))
    if found is None or not isinstance(found.profile, NumberProfile):
        return None
    then = found.profile
    return WatchedColumn(role, name, then.edges, then.bounds if np.isfinite(then.bounds[0]) else then.range)


def cut_column(role: Role, name: str, values: Iterable[pa.ChunkedArray]) -> WatchedColumn:
    """A column of numbers over bins that are cut at these values."""
    finite = finite_values(values)
    bounds = (float(finite.min()), float(finite.max())) if len(finite) else (-np.inf, np.inf)
    return WatchedColumn(role, name, Edges.of(finite), bounds)


class Profiler:
    """Counts the watched columns of a shard's batches. A column that cannot be counted is named, the others are."""

    def __init__(self, watched: Sequence[WatchedColumn], score: str = "") -> None:
        """`score`: the prediction column whose mean is wanted by bin of each feature; empty: none."""
        self._score = score
        self._watched = watched
        self.errors: dict[str, str] = {}
        self._found = {(column.role, column.name): _empty(column, with_scores=bool(score)) for column in watched}

    def add(self, role: Role, table: pa.Table, scored: pa.Table | None = None) -> None:
        """Count a batch's columns of one role.

        Args:
            role: Of the columns.
            table: All rows of the batch that have these columns.
            scored: Features with the score beside them: the rows that the model was given.
        """
        for column in self._watched:
            if column.role != role or column.name in self.errors:
                continue
            found = self._found[role, column.name]
            try:
                found.profile.add(table.column(column.name))
                if found.scores is not None and scored is not None:
                    _add_scores(found, scored.column(column.name), scored.column(self._score))
            except (pa.ArrowException, TypeError, ValueError) as error:
                self.errors[column.name] = f"{type(error).__name__}: {str(error)[:200]}"

    @property
    def columns(self) -> list[ColumnProfile]:
        """What was counted so far."""
        return [column for column in self._found.values() if column.name not in self.errors]


def _empty(column: WatchedColumn, *, with_scores: bool) -> ColumnProfile:
    scores = Scores() if with_scores and column.role == "feature" else None
    if column.edges is None:
        return ColumnProfile(column.role, column.name, CategoryProfile(limit=MAX_CATEGORIES), scores=scores)
    return ColumnProfile(column.role, column.name, NumberProfile(column.edges, bounds=column.bounds), scores=scores)


def _add_scores(found: ColumnProfile, column: pa.ChunkedArray, scores: pa.ChunkedArray) -> None:
    assert found.scores is not None  # noqa: S101
    score, _ = as_numbers(scores.fill_null(np.nan))
    if isinstance(found.profile, NumberProfile):
        kept = column.is_valid().to_numpy()
        values = np.full(len(column), np.nan)
        values[kept] = as_numbers(column)[0]
        finite = np.isfinite(values) & np.isfinite(score)
        n_bins = len(found.profile.counts)
        codes = np.searchsorted(found.profile.edges.both, values[finite], side="left")
        rows, sums = np.bincount(codes, minlength=n_bins), np.bincount(codes, score[finite], n_bins)
        for index in np.flatnonzero(rows).tolist():
            found.scores.add(str(index), int(rows[index]), float(sums[index]))
        missing = ~np.isfinite(values) & np.isfinite(score)
        found.scores.add(None, int(missing.sum()), float(score[missing].sum()))
        return
    table = pa.table({"key": column, "score": score}).filter(pa.array(np.isfinite(score)))
    for row in table.group_by("key").aggregate([("score", "sum"), ("score", "count")]).to_pylist():
        key = row["key"]
        name = None if key is None else str(key).lower() if isinstance(key, bool) else str(key)
        found.scores.add(name, row["score_count"], row["score_sum"])


def score_column(kinds: Mapping[str, Kind | None]) -> str:
    """Of the prediction columns and their kinds the one that says what the model says: rather than a class a
    probability. Empty where there is no number: several classes have no mean.
    """
    if any(name.startswith("probability_") for name in kinds):
        return ""
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    return next((name for name in ("probability", "decision", "raw", "prediction") if name in numbers), "")
