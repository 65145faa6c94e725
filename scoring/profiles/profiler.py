"""Counting the columns of a shard, batch by batch, in a worker."""

import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.profiles.numbers import as_numbers
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.profile_spec import ProfiledColumn, ProfileSpec, SegmentColumn
from nightscore.profiles.table import ColumnProfile, Key, Role, Scores

MAX_CATEGORIES = 100_000
"""More distinct values than that are an identifier's: about 20 MB a column and worker."""
LEAST_JUDGED_S = 0.25
"""CPU seconds of profiling before its share is looked at: less is not worth counting less."""
STRIDE_STEP = 4
MAX_STRIDE = 64


class Profiler:
    """Counts the watched columns of a shard's batches. A column that cannot be counted is named, the others are."""

    def __init__(self, spec: ProfileSpec) -> None:
        self._spec = spec
        self.errors: dict[str, str] = {}
        self._found = {
            (c.role, c.name): _empty(c, with_scores=_has_scores(c, spec)) for c in spec.columns
        }
        self._segments: dict[Key, ColumnProfile] = {}
        self.stride = 1
        """Every n-th row is counted."""
        self._phase = 0
        self.n_skipped = 0
        """Rows that were not."""
        self.missing: dict[str, int] = {}
        """Nulls and NaN of the last batch, by feature; only of floats, and only if all its rows were counted."""
        self.cpu_s = 0.0
        self._judged = (0.0, time.thread_time())

    def add(
        self,
        features: pa.Table,
        kept: pa.Table,
        is_scored: npt.NDArray[np.bool_],
        predictions: pa.Table,
    ) -> None:
        """Count a batch.

        Args:
            features: All rows.
            kept: Keys and pass-through columns of all rows.
            is_scored: Which of them have a prediction, shape (n,).
            predictions: Of those.
        """
        started = time.thread_time()
        self.missing.clear()
        is_whole = self.stride == 1
        if not is_whole:
            features, kept, is_scored, predictions = self._thin(
                features, kept, is_scored, predictions
            )
        tables: dict[Role, pa.Table] = {
            "feature": features,
            "prediction": predictions,
            "pass_through": kept,
        }
        for column in self._spec.columns:
            values, before = tables[column.role].column(column.name), self._n_missing(column)
            self._count(column, values, kept, is_scored, predictions)
            if is_whole and column.role == "feature" and pa.types.is_floating(values.type):
                self.missing[column.name] = self._n_missing(column) - before
        for name in self.errors:
            self.missing.pop(name, None)
        for segment in self._spec.segments:
            self._split(segment, tables, is_scored)
        self.cpu_s += time.thread_time() - started
        self._judge()

    @property
    def columns(self) -> list[ColumnProfile]:
        """What was counted so far."""
        everything = [*self._found.values(), *self._segments.values()]
        return [
            column
            for column in everything
            if column.name not in self.errors and not self._is_cut(column)
        ]

    def _n_missing(self, column: ProfiledColumn) -> int:
        found = self._found[column.role, column.name].profile
        return found.n_null + found.n_nan if isinstance(found, NumberProfile) else 0

    def _is_cut(self, column: ColumnProfile | ProfiledColumn) -> bool:
        """Whether a segment's column is an identifier by all rows: then its segments' values are none that count."""
        whole = self._found[column.role, column.name].profile
        is_part = isinstance(column, ProfiledColumn) or bool(column.segment)
        return is_part and isinstance(whole, CategoryProfile) and whole.is_cut

    def _count(
        self,
        column: ProfiledColumn,
        values: pa.ChunkedArray,
        kept: pa.Table,
        is_scored: npt.NDArray[np.bool_],
        predictions: pa.Table,
    ) -> None:
        if column.name in self.errors:
            return
        found, rows = self._found[column.role, column.name], from_numpy(is_scored)
        try:
            found.profile.add(values)
            if isinstance(found.profile, CategoryProfile) and found.profile.is_cut:
                found.scores = (
                    None  # of an identifier, which are as many as rows, and may be people's
                )
            if found.scores is not None and column.role == "feature":
                _add_scores(found, values.filter(rows), predictions.column(self._spec.score))
            elif found.scores is not None:
                _add_scores(found, values, kept.column(self._spec.label).filter(rows))
        except (pa.ArrowException, TypeError, ValueError) as error:
            self._fail(column.name, error)

    def _split(
        self,
        segment: SegmentColumn,
        tables: Mapping[Role, pa.Table],
        is_scored: npt.NDArray[np.bool_],
    ) -> None:
        """Count each segment's rows: they are put side by side once, and each column is cut at the same places."""
        name = f"segments of {segment.name}"
        if name in self.errors:
            return
        try:
            source = (
                tables["feature"]
                if segment.name in tables["feature"].column_names
                else tables["pass_through"]
            )
            codes = segment.codes(source.column(segment.name))
        except pa.ArrowException as error:
            self._fail(name, error)
            return
        labels = segment.labels
        for role, table in tables.items():
            here = codes[is_scored] if role == "prediction" else codes
            order = np.argsort(here, kind="stable")
            ends = np.searchsorted(here[order], np.arange(len(labels) + 1))
            columns = [column for column in self._spec.columns if column.role == role]
            places = from_numpy(order)
            for column in columns:
                if column.name in self.errors or self._is_cut(column):
                    continue
                try:
                    values = table.column(column.name).take(places)
                    for code in np.flatnonzero(np.diff(ends)).tolist():
                        part = values.slice(ends[code], ends[code + 1] - ends[code])
                        self._segment(column, labels[code]).profile.add(part)
                except (pa.ArrowException, TypeError, ValueError) as error:
                    self._fail(column.name, error)

    def _segment(self, column: ProfiledColumn, label: str) -> ColumnProfile:
        key = (column.role, column.name, label)
        if key not in self._segments:
            self._segments[key] = _empty(column, with_scores=False, segment=label)
        return self._segments[key]

    def _fail(self, name: str, error: Exception) -> None:
        self.errors[name] = f"{type(error).__name__}: {str(error)[:200]}"

    def _thin(
        self,
        features: pa.Table,
        kept: pa.Table,
        is_scored: npt.NDArray[np.bool_],
        predictions: pa.Table,
    ) -> tuple[pa.Table, pa.Table, npt.NDArray[np.bool_], pa.Table]:
        n_rows = len(is_scored)
        wanted = np.arange(self._phase, n_rows, self.stride)
        self._phase = (self._phase - n_rows) % self.stride
        self.n_skipped += n_rows - len(wanted)
        counted = np.zeros(n_rows, np.bool_)
        counted[wanted] = True
        rows = from_numpy(wanted)
        answered = predictions.filter(from_numpy(counted[is_scored]))
        return features.take(rows), kept.take(rows), is_scored[wanted], answered

    def _judge(self) -> None:
        """Count fewer rows where the profile takes more than its share of what the worker does."""
        before_s, before = self._judged
        spent, elapsed = self.cpu_s - before_s, time.thread_time() - before
        if spent < LEAST_JUDGED_S:
            return
        self._judged = (self.cpu_s, time.thread_time())
        if spent > self._spec.max_share * elapsed:
            self.stride = min(self.stride * STRIDE_STEP, MAX_STRIDE)


def _has_scores(column: ProfiledColumn, spec: ProfileSpec) -> bool:
    if column.role == "feature":
        return bool(spec.score)
    return bool(spec.label) and (column.role, column.name) == ("prediction", spec.score)


def _empty(column: ProfiledColumn, *, with_scores: bool, segment: str = "") -> ColumnProfile:
    scores = Scores() if with_scores else None
    if column.edges is None:
        profile: CategoryProfile | NumberProfile = CategoryProfile(limit=MAX_CATEGORIES)
    else:
        profile = NumberProfile.empty(column.edges, column.bounds, is_segment=bool(segment))
    return ColumnProfile(column.role, column.name, profile, segment, scores, column.type)


def _add_scores(found: ColumnProfile, column: pa.ChunkedArray, scores: pa.ChunkedArray) -> None:
    assert found.scores is not None  # noqa: S101
    score, _ = as_numbers(scores.cast(pa.float64()).fill_null(np.nan))
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
