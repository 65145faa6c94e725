"""Measures the predictions of one partition against its labels."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.label_rows import ACTED_ON, KNOWN_AT, LABEL
from nightscore.monitoring.performance.metrics.binary import (
    BinaryPerformance,
    binary_by_segment,
    binary_performance,
)
from nightscore.monitoring.performance.metrics.classes import class_metrics
from nightscore.monitoring.performance.metrics.regression import regression_metrics
from nightscore.monitoring.performance.metrics.segments import Segments, by_segment, worst_first
from nightscore.monitoring.performance.prediction_rows import PREDICTED, PROBABILITY, SCORE
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.evaluation import CoverageRecord, Task
from nightscore.schemas.performance import MetricRecord, SegmentRecord
from nightscore.schemas.text import counted

if TYPE_CHECKING:
    import polars as pl

COVERAGE_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0)
"""Ages of a prediction for which a record has the share of known labels."""
MAX_SEGMENTS = 50
"""Segments by one column: its values with the most rows."""

WORST_BY: dict[Task, str] = {"binary": "roc_auc", "classes": "accuracy", "regression": "mae"}
"""The metric by which segments are sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How labelled rows are measured."""

    task: Task
    threshold: float = 0.5
    values: DecisionValues | None = None
    classes: Sequence[str] = ()
    has_probabilities: bool = False
    """Each class has a probability, as `probability_0` and so on."""
    segments: Mapping[str, str] = field(default_factory=dict)
    """Column of the rows to the segments' column, such as `segment_0` to `origin`."""

    @property
    def score_columns(self) -> list[str]:
        """The columns that metrics are computed from, beside the label."""
        if self.task != "classes":
            return [SCORE]
        return [PREDICTED, *self._probabilities()]

    def _probabilities(self) -> list[str]:
        if not self.has_probabilities:
            return []
        return [f"{PROBABILITY}_{index}" for index in range(len(self.classes))]

    def measure(self, rows: "pl.DataFrame", weights: Floats | None = None) -> list[MetricRecord]:
        """The metrics of labelled rows.

        Args:
            rows: As `labelled_rows` gives them.
            weights: Of the rows, shape (n,). None: each row counts once.
        """
        if self.task == "binary":
            return self.measure_binary(rows, weights).metrics
        if self.task == "regression":
            score, label = _floats(rows, SCORE), _floats(rows, LABEL)
            return regression_metrics(score, label, weights=weights)
        return self._measure_classes(rows, weights)

    def measure_binary(
        self, rows: "pl.DataFrame", weights: Floats | None = None
    ) -> BinaryPerformance:
        """The metrics, the confusion and the calibration curve of a binary model."""
        return binary_performance(
            _floats(rows, SCORE),
            rows[LABEL].to_numpy(),
            threshold=self.threshold,
            values=self.values,
            weights=weights,
        )

    def measure_segments(self, rows: "pl.DataFrame") -> list[SegmentRecord]:
        """The metrics of each segment, worst first."""
        worst_by = WORST_BY[self.task]
        records: list[SegmentRecord] = []

        for column, name in self.segments.items():
            some, segments = _segments(rows, column, name, worst_by)
            if self.task == "binary":
                records += binary_by_segment(
                    _floats(some, SCORE),
                    some[LABEL].to_numpy(),
                    segments,
                    threshold=self.threshold,
                    values=self.values,
                )
            else:
                records += by_segment(segments, functools.partial(self._measure_some, some))

        return worst_first(records, worst_by)

    def _measure_some(
        self, rows: "pl.DataFrame", positions: npt.NDArray[np.intp]
    ) -> list[MetricRecord]:
        return self.measure(rows[positions])

    def _measure_classes(self, rows: "pl.DataFrame", weights: Floats | None) -> list[MetricRecord]:
        probabilities = None
        if self.has_probabilities:
            probabilities = np.column_stack([_floats(rows, name) for name in self._probabilities()])
        return class_metrics(
            _codes(rows, PREDICTED, self.classes),
            _codes(rows, LABEL, self.classes),
            self.classes,
            probabilities=probabilities,
            weights=weights,
        )


def labelled_rows(
    frame: "pl.DataFrame", measuring: Measuring, others: Sequence[str] = ()
) -> "pl.DataFrame":
    """The rows that metrics are of: labelled, and not acted on.

    They have only the columns that metrics need, and the others that are named.
    """
    import polars as pl

    is_wanted = pl.col(LABEL).is_not_null() & is_measurable(frame, measuring)
    return frame.filter(is_wanted).select(
        *measuring.score_columns, LABEL, *measuring.segments, *others
    )


def is_measurable(frame: "pl.DataFrame", measuring: Measuring) -> "pl.Expr":
    """Whether a row has its scores and was not acted on: metrics are of it once it has a label."""
    import polars as pl

    is_wanted = pl.lit(True)
    if ACTED_ON in frame.columns:
        is_wanted &= ~pl.col(ACTED_ON).fill_null(False)
    for name in measuring.score_columns:
        is_wanted &= pl.col(name).is_not_null()
        if name != PREDICTED:
            is_wanted &= pl.col(name).is_not_nan()

    return is_wanted


def coverage_by_age(frame: "pl.DataFrame", since: datetime, now: datetime) -> list[CoverageRecord]:
    """Share of the rows whose label was known at each age that the partition has reached.

    Args:
        frame: All rows, with `known_at` where the label is known.
        since: The partition's date, in UTC.
        now: In UTC.
    """
    import polars as pl

    if KNOWN_AT not in frame.columns or not frame.height:
        return []

    age = (pl.col(KNOWN_AT) - pl.lit(since.replace(tzinfo=None))).dt.total_seconds() / 86_400
    ages = frame.filter(pl.col(LABEL).is_not_null()).select(age.alias("days"))["days"]
    reached = (now - since).total_seconds() / 86_400

    return [
        CoverageRecord(days=days, share=float((ages <= days).sum()) / frame.height)
        for days in COVERAGE_DAYS
        if days <= reached
    ]


def known_at_notes(frame: "pl.DataFrame", since: datetime, now: datetime) -> list[str]:
    """What cannot be right about the times at which labels became known. They count all the same.

    Args:
        frame: All rows, with `known_at` where the label is known.
        since: The partition's date, in UTC.
        now: In UTC.
    """
    import polars as pl

    if KNOWN_AT not in frame.columns:
        return []

    times = frame.filter(pl.col(LABEL).is_not_null())[KNOWN_AT]
    n_early = int((times < since.replace(tzinfo=None)).sum())
    n_late = int((times > now.replace(tzinfo=None)).sum())

    notes = {
        "before the partition's date": n_early,
        "in the future": n_late,
        "null": times.null_count(),
    }

    return [f"known_at is {what}: {counted(n, 'label')}" for what, n in notes.items() if n]


def _segments(
    rows: "pl.DataFrame", column: str, name: str, worst_by: str
) -> "tuple[pl.DataFrame, Segments]":
    """The rows of the largest segments of a column, and the segment of each."""
    import polars as pl

    texts = rows[column].cast(pl.String)
    largest = texts.value_counts(sort=True, name="n").sort("n", column, descending=[True, False])
    values = largest[column].head(MAX_SEGMENTS)

    places = pl.DataFrame({column: values, "code": range(len(values))})
    coded = rows.with_columns(texts).join(
        places, on=column, how="inner", nulls_equal=True, maintain_order="left"
    )
    names = [f"{name}={'null' if value is None else value}" for value in values]
    return coded, Segments(coded["code"].to_numpy(), names, worst_by)


def _floats(rows: "pl.DataFrame", name: str) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = rows[name].to_numpy()
    return values


def _codes(rows: "pl.DataFrame", name: str, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    import polars as pl

    codes: npt.NDArray[np.int64] = (
        rows[name]
        .cast(pl.String)
        .replace_strict(list(classes), list(range(len(classes))), return_dtype=pl.Int64)
        .to_numpy()
    )
    return codes
