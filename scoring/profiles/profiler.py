"""Counting the columns of a shard, batch by batch, in a worker."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.arrow.arrays import from_numpy
from nightscore.native.machine_code import loaded_kernels
from nightscore.profiles.class_codes import Codes, class_codes
from nightscore.profiles.class_counter import PREDICTED, ClassCounter
from nightscore.profiles.numbers import as_numbers
from nightscore.profiles.profile import (
    CategoryProfile,
    NumberProfile,
    add_together,
    category_name,
)
from nightscore.profiles.profile_spec import (
    NUMBER_SCORE,
    BinsToCut,
    ProfiledColumn,
    ProfileSpec,
    SegmentColumn,
    cut_column,
    cut_segments,
)
from nightscore.profiles.running_profiles import RunningProfiles
from nightscore.profiles.scores import Errors, Scores
from nightscore.profiles.table import ColumnProfile, Key, Role

MAX_CATEGORIES = 100_000
"""More distinct values are those of an identifier. They take about 20 MB per column and worker."""
LEAST_JUDGED_S = 0.25
"""CPU seconds of profiling before its share is checked. Less is not worth counting fewer rows."""
STRIDE_STEP = 4
"""Factor by which fewer rows are counted."""
MAX_STRIDE = 64

NOTHING_TO_CUT = BinsToCut()
PLAIN_FLOATS = (pa.float64(), pa.float32())
"""Types of columns that are counted together, as integers are."""
COUNT_ERRORS = (pa.ArrowException, TypeError, ValueError)
"""What a column raises that cannot be counted."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The tables of a batch."""

    features: pa.Table
    passthrough: pa.Table
    is_scored: npt.NDArray[np.bool_]
    predictions: pa.Table

    def table(self, role: Role) -> pa.Table:
        match role:
            case "feature":
                return self.features
            case "prediction":
                return self.predictions
            case "pass_through":
                return self.passthrough

    def source(self, name: str) -> pa.ChunkedArray:
        """A column of the input, whether the model reads it or not."""
        is_feature = name in self.features.column_names
        return (self.features if is_feature else self.passthrough).column(name)

    def labels(self, name: str) -> pa.ChunkedArray:
        """The labels of the rows that have a prediction."""
        return self.passthrough.column(name).filter(from_numpy(self.is_scored))

    def thin(self, wanted: npt.NDArray[np.int64]) -> "_Batch":
        """The batch with some of its rows."""
        is_wanted = np.zeros(len(self.is_scored), np.bool_)
        is_wanted[wanted] = True

        rows = from_numpy(wanted)
        return _Batch(
            features=self.features.take(rows),
            passthrough=self.passthrough.take(rows),
            is_scored=self.is_scored[wanted],
            predictions=self.predictions.filter(from_numpy(is_wanted[self.is_scored])),
        )


class Profiler:
    """Counts columns of a shard's batches.

    A column that cannot be counted is reported, and the others are counted.
    """

    def __init__(
        self,
        spec: ProfileSpec,
        *,
        elapsed_s: float = 0.0,
        now: Callable[[], float] = time.thread_time,
    ) -> None:
        """Begin to count what the spec says.

        Args:
            spec: What is counted.
            elapsed_s: CPU seconds that the shard has taken so far, in whichever thread.
            now: CPU seconds of the shard and of this thread. Those of other models are not in it.
        """
        self._spec = spec
        self._columns: dict[tuple[Role, str], ColumnProfile] = {}
        self._watch(spec.columns)
        self._segments: dict[Key, ColumnProfile] = {}
        self._running: RunningProfiles | None = None
        self._classes: ClassCounter | None = None
        if spec.classes is not None:
            self._classes = ClassCounter(spec.classes, with_labels=bool(spec.label))

        self.errors: dict[str, str] = {}
        """Why columns cannot be counted, by name."""
        self.missing: dict[str, int] = {}
        """Nulls and NaN of the last batch, by feature: of floats, and only if all rows were
        counted."""

        self.stride = 1
        """Every n-th row is counted."""
        self.n_skipped = 0
        """Rows that were not counted."""
        self._phase = 0

        self.cpu_s = 0.0
        self._now = now
        self._last_judged = (0.0, now() - elapsed_s)

    def add(
        self,
        features: pa.Table,
        passthrough: pa.Table,
        is_scored: npt.NDArray[np.bool_],
        predictions: pa.Table,
    ) -> None:
        """Count a batch.

        Args:
            features: All rows.
            passthrough: Keys and passthrough columns of all rows.
            is_scored: Which rows have a prediction, shape (n,).
            predictions: The predictions of these rows.
        """
        batch = _Batch(features, passthrough, is_scored, predictions)
        if self._spec.to_cut != NOTHING_TO_CUT:
            self._cut_bins(batch)

        started = time.thread_time()

        is_whole = self.stride == 1
        if not is_whole:
            batch = self._thin(batch)

        self.missing.clear()

        together: list[ProfiledColumn] = []
        plain: list[pa.ChunkedArray] = []
        for column in self._spec.columns:
            values = batch.table(column.role).column(column.name)
            if self._is_plain(column, values):
                together.append(column)
                plain.append(values)
            else:
                self._count_column(column, values, batch, is_whole=is_whole)

        self._count_together(together, plain, is_whole=is_whole)
        self._count_classes(batch)

        for name in self.errors:
            self.missing.pop(name, None)

        for segment in self._spec.segments:
            self._count_segments(segment, batch)

        self.cpu_s += time.thread_time() - started
        self._judge()

    @property
    def columns(self) -> list[ColumnProfile]:
        """What was counted so far."""
        if self._running is not None:
            self._running.finish()

        if self._classes is not None and ("prediction", PREDICTED) in self._columns:
            self._columns["prediction", PREDICTED].classes = self._classes.counts

        columns = []
        for column in (*self._columns.values(), *self._segments.values()):
            if column.name not in self.errors and not self._is_cut_segment(column):
                columns.append(column)
        return columns

    def _watch(self, columns: Sequence[ProfiledColumn]) -> None:
        """Begin to count columns."""
        for column in columns:
            profile = _empty(column, with_scores=_has_scores(column, self._spec))
            self._columns[column.role, column.name] = profile

    def _cut_bins(self, batch: _Batch) -> None:
        """Cut the bins that are not known yet at this batch, the first one."""
        to_cut = self._spec.to_cut
        columns: list[ProfiledColumn] = []
        segments: list[SegmentColumn] = []

        for column in to_cut.columns:
            values = batch.table(column.role).column(column.name)
            try:
                cut = cut_column(column.role, column.name, [values])
            except COUNT_ERRORS as error:
                self._fail(column.name, error)
                continue
            columns.append(replace(cut, type=column.type))

        for name in to_cut.segments:
            try:
                segments.append(cut_segments(name, [batch.source(name)]))
            except COUNT_ERRORS as error:
                self._fail(f"segments of {name}", error)

        self._spec = replace(
            self._spec,
            columns=self._spec.columns + tuple(columns),
            segments=self._spec.segments + tuple(segments),
            to_cut=NOTHING_TO_CUT,
        )
        self._watch(columns)

    def _is_plain(self, column: ProfiledColumn, values: pa.ChunkedArray) -> bool:
        """Whether a column's numbers are counted as they are stored, which cannot fail."""
        counted = self._columns[column.role, column.name]
        if not isinstance(counted.profile, NumberProfile) or counted.scores is not None:
            return False
        return values.type in PLAIN_FLOATS or pa.types.is_integer(values.type)

    def _count_together(
        self,
        columns: Sequence[ProfiledColumn],
        values: Sequence[pa.ChunkedArray],
        *,
        is_whole: bool,
    ) -> None:
        """Count columns of plain numbers: a call for each of thousands would take longer."""
        profiles: list[NumberProfile] = []

        for column in columns:
            profile = self._columns[column.role, column.name].profile
            assert isinstance(profile, NumberProfile)  # noqa: S101
            profiles.append(profile)

        running = self._run(profiles)
        if running is not None:
            n_missing = running.add(values)
        else:
            before = [profile.n_missing for profile in profiles]
            add_together(profiles, values)
            n_missing = [profile.n_missing - n for profile, n in zip(profiles, before, strict=True)]

        for column, numbers, n in zip(columns, values, n_missing, strict=True):
            if is_whole and _tells_missing(column, numbers):
                self.missing[column.name] = n

    def _run(self, profiles: Sequence[NumberProfile]) -> RunningProfiles | None:
        """What counts these columns from batch to batch; None: they are counted by themselves."""
        if self._running is not None and self._running.counts(profiles):
            return self._running

        if self._running is not None:
            self._running.finish()
            self._running = None

        kernels = loaded_kernels()
        if kernels is not None and RunningProfiles.can_count(profiles):
            self._running = RunningProfiles(profiles, kernels)

        return self._running

    def _count_column(
        self,
        column: ProfiledColumn,
        values: pa.ChunkedArray,
        batch: _Batch,
        *,
        is_whole: bool,
    ) -> None:
        n_missing = self._n_missing(column)
        if column.name not in self.errors:
            try:
                self._add(column, values, batch)
            except COUNT_ERRORS as error:
                self._fail(column.name, error)

        if is_whole and _tells_missing(column, values):
            self.missing[column.name] = self._n_missing(column) - n_missing

    def _add(self, column: ProfiledColumn, values: pa.ChunkedArray, batch: _Batch) -> None:
        counted = self._columns[column.role, column.name]
        counted.profile.add(values)

        # The values of an identifier are as many as rows, and may be people's.
        if isinstance(counted.profile, CategoryProfile) and counted.profile.is_cut:
            counted.scores = None

        if counted.scores is None:
            return

        rows = from_numpy(batch.is_scored)

        if column.role == "feature":
            scores = batch.predictions.column(self._spec.score)
            _add_scores(counted, counted.scores, values.filter(rows), scores)
        else:
            _add_scores(counted, counted.scores, values, self._labels(column, batch))

    def _labels(self, column: ProfiledColumn, batch: _Batch) -> pa.ChunkedArray:
        """The labels of a column of scores. Of one class's probability: whether they are it."""
        if not self._spec.label_classes:
            return batch.labels(self._spec.label)

        codes = self._label_codes(batch)
        numbers = codes.astype(np.float64)
        if self._spec.classes is not None:
            place = self._spec.classes.probabilities.index(column.name)
            numbers = (codes == place).astype(np.float64)

        numbers[codes == len(self._spec.label_classes)] = np.nan
        return pa.chunked_array([from_numpy(numbers)])

    def _label_codes(self, batch: _Batch) -> Codes:
        return class_codes(batch.labels(self._spec.label), self._spec.label_classes)

    def _count_classes(self, batch: _Batch) -> None:
        if self._classes is None or PREDICTED in self.errors:
            return

        edges = {column.name: column.edges for column in self._spec.columns}
        labels = self._label_codes(batch) if self._spec.label else None
        try:
            self._classes.add(batch.predictions, labels, edges)
        except COUNT_ERRORS as error:
            self._classes = None
            self._fail("rows by class", error)

    def _count_segments(self, segment: SegmentColumn, batch: _Batch) -> None:
        name = f"segments of {segment.name}"
        if name in self.errors:
            return

        try:
            codes = segment.codes(batch.source(segment.name))
        except pa.ArrowException as error:
            self._fail(name, error)
            return

        self._count_parts("feature", segment, batch.features, codes)
        self._count_parts("prediction", segment, batch.predictions, codes[batch.is_scored])
        self._count_parts("pass_through", segment, batch.passthrough, codes)

    def _count_parts(
        self, role: Role, segment: SegmentColumn, table: pa.Table, codes: npt.NDArray[np.int64]
    ) -> None:
        """Count the rows of each segment.

        The rows of a segment are put side by side once. Then each column is cut at the same places.
        """
        order = np.argsort(codes, kind="stable")
        labels = segment.labels
        ends = np.searchsorted(codes[order], np.arange(len(labels) + 1))
        present = np.flatnonzero(np.diff(ends)).tolist()
        places = from_numpy(order)

        for column in self._spec.columns:
            if column.role != role or column.name in self.errors or self._is_identifier(column):
                continue

            try:
                values = table.column(column.name).take(places)
                for code in present:
                    part = values.slice(ends[code], ends[code + 1] - ends[code])
                    self._segment(column, labels[code]).profile.add(part)
            except COUNT_ERRORS as error:
                self._fail(column.name, error)

    def _segment(self, column: ProfiledColumn, label: str) -> ColumnProfile:
        key = (column.role, column.name, label)
        if key not in self._segments:
            self._segments[key] = _empty(column, with_scores=False, segment=label)
        return self._segments[key]

    def _n_missing(self, column: ProfiledColumn) -> int:
        profile = self._columns[column.role, column.name].profile
        return profile.n_missing if isinstance(profile, NumberProfile) else 0

    def _is_cut_segment(self, column: ColumnProfile) -> bool:
        """Whether all rows show that a segment's column is an identifier: it is not reported."""
        return bool(column.segment) and self._is_identifier(column)

    def _is_identifier(self, column: ColumnProfile | ProfiledColumn) -> bool:
        whole = self._columns[column.role, column.name].profile
        return isinstance(whole, CategoryProfile) and whole.is_cut

    def _fail(self, name: str, error: Exception) -> None:
        self.errors[name] = f"{type(error).__name__}: {str(error)[:200]}"

    def _thin(self, batch: _Batch) -> _Batch:
        """Every n-th row, across batches."""
        n_rows = len(batch.is_scored)
        wanted = np.arange(self._phase, n_rows, self.stride)
        self._phase = (self._phase - n_rows) % self.stride
        self.n_skipped += n_rows - len(wanted)
        return batch.thin(wanted)

    def _judge(self) -> None:
        """Count fewer rows if profiling takes more than its share of the worker's time."""
        cpu_s_before, time_before = self._last_judged
        spent_s = self.cpu_s - cpu_s_before
        elapsed_s = self._now() - time_before
        if spent_s < LEAST_JUDGED_S:
            return

        self._last_judged = (self.cpu_s, self._now())
        if spent_s > self._spec.max_share * elapsed_s:
            self.stride = min(self.stride * STRIDE_STEP, MAX_STRIDE)


def _tells_missing(column: ProfiledColumn, values: pa.ChunkedArray) -> bool:
    """Whether its missing values are told: of other types reading nulls takes no time."""
    return column.role == "feature" and pa.types.is_floating(values.type)


def _has_scores(column: ProfiledColumn, spec: ProfileSpec) -> bool:
    if column.role == "feature":
        return bool(spec.score)
    if not spec.label or column.role != "prediction":
        return False

    with_labels = (spec.score,) if spec.classes is None else spec.classes.probabilities
    return column.name in with_labels


def _empty(column: ProfiledColumn, *, with_scores: bool, segment: str = "") -> ColumnProfile:
    if column.edges is None:
        profile: CategoryProfile | NumberProfile = CategoryProfile(limit=MAX_CATEGORIES)
    else:
        profile = NumberProfile.empty(column.edges, column.bounds, is_segment=bool(segment))

    return ColumnProfile(
        role=column.role,
        name=column.name,
        profile=profile,
        segment=segment,
        scores=_no_scores(column) if with_scores else None,
        type=column.type,
    )


def _no_scores(column: ProfiledColumn) -> Scores:
    """Nothing counted yet. How far a predicted number is from its label is counted, too."""
    is_predicted = (column.role, column.name) == ("prediction", NUMBER_SCORE)
    return Scores(errors={} if is_predicted else None)


def _add_scores(
    column: ColumnProfile, scores: Scores, values: pa.ChunkedArray, other: pa.ChunkedArray
) -> None:
    """Add the mean of another column by bin or category of this one.

    Args:
        column: Its bins.
        scores: Added to.
        values: The column's values.
        other: The other column's values, in the same rows.
    """
    numbers, _ = as_numbers(other.cast(pa.float64()).fill_null(np.nan))

    if isinstance(column.profile, NumberProfile):
        _add_scores_of_bins(column.profile, scores, values, numbers)
    else:
        _add_scores_of_categories(scores, values, numbers)


def _add_scores_of_bins(
    profile: NumberProfile,
    scores: Scores,
    column: pa.ChunkedArray,
    numbers: npt.NDArray[np.float64],
) -> None:
    values = np.full(len(column), np.nan)
    values[column.is_valid().to_numpy()] = as_numbers(column)[0]
    is_counted = np.isfinite(numbers)
    is_finite = np.isfinite(values) & is_counted

    n_bins = len(profile.counts)
    bins = np.searchsorted(profile.edges.both, values[is_finite], side="left")
    rows = np.bincount(bins, minlength=n_bins)
    sums = np.bincount(bins, numbers[is_finite], n_bins)

    errors = None
    if scores.errors is not None:
        errors = _sum_errors(values[is_finite], numbers[is_finite], bins, n_bins)

    for index in np.flatnonzero(rows).tolist():
        of_bin = None if errors is None else Errors(*errors[:, index].tolist())
        scores.add(str(index), int(rows[index]), float(sums[index]), of_bin)

    is_missing = ~np.isfinite(values) & is_counted
    scores.add(None, int(is_missing.sum()), float(numbers[is_missing].sum()))


def _sum_errors(
    predictions: npt.NDArray[np.float64],
    labels: npt.NDArray[np.float64],
    bins: npt.NDArray[np.intp],
    n_bins: int,
) -> npt.NDArray[np.float64]:
    """Sums of errors, of their sizes, squares and fourth powers by bin, shape (4, n_bins).

    Beyond float64 they are infinite or NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        errors = predictions - labels
        squares = np.square(errors)
        powers = (errors, np.abs(errors), squares, np.square(squares))
        return np.stack([np.bincount(bins, power, n_bins) for power in powers])


def _add_scores_of_categories(
    scores: Scores, column: pa.ChunkedArray, numbers: npt.NDArray[np.float64]
) -> None:
    table = pa.table({"key": column, "score": numbers})
    table = table.filter(pa.array(np.isfinite(numbers)))
    groups = table.group_by("key").aggregate([("score", "sum"), ("score", "count")])
    for row in groups.to_pylist():
        key = row["key"]
        name = None if key is None else category_name(key)
        scores.add(name, row["score_count"], row["score_sum"])
