"""Rows by predicted class and by bin of the winning probability, of a model of several classes.

A baseline with labels also has its labelled rows by these, by their label, and by the bin that the
label's own probability is in.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from nightscore.profiles.bins import Counts, Floats

CLASS_FIELDS: tuple[pa.Field, ...] = (
    pa.field("class_names", pa.list_(pa.string())),
    pa.field("class_rows", pa.list_(pa.int64())),
    pa.field("class_label_keys", pa.list_(pa.int64())),
    pa.field("class_label_rows", pa.list_(pa.int64())),
)
"""Columns of a table of profiles that has rows by class."""
GRID = 1024
"""Parts of the unit interval. Edges of the bins are between them, so that a bin is looked up."""
WINNING_EDGES: Floats = np.concatenate(
    [
        np.arange(1, 8) / 32,
        np.arange(4, 14) / 16,
        np.arange(56, 64) / 64,
        1 - np.exp2(-np.arange(7, 11)),
    ]
)
"""Edges of the bins of the winning probability, narrow where it is near 1. Bin i is
`[edges[i - 1], edges[i])`. They are the same for all runs, so that all can be added up."""
N_BINS = len(WINNING_EDGES) + 1
MOST_LABEL_BINS = 1024
"""Bins of one class's probability, at most. Quantiles and spikes make up to 220."""


@dataclass(slots=True, kw_only=True)
class ClassCounts:
    """Counts of rows. They are merged by addition, and are the same under any split."""

    names: tuple[str, ...]
    """Of the classes, in the order of their probabilities."""
    rows: Counts
    """By predicted class and bin of the winning probability, shape (classes, N_BINS)."""
    labels: Counter[int] | None = None
    """Labelled rows by `label_key`. None: they are not stored, as of a run."""

    @classmethod
    def empty(cls, names: tuple[str, ...], *, with_labels: bool = False) -> Self:
        """The counts of no rows."""
        rows = np.zeros((len(names), N_BINS), np.int64)
        return cls(names=names, rows=rows, labels=Counter() if with_labels else None)

    @property
    def n_rows(self) -> int:
        """Rows that have a predicted class and probabilities."""
        return int(self.rows.sum())

    def copy(self) -> "ClassCounts":
        """The same, to be added to."""
        labels = None if self.labels is None else Counter(self.labels)
        return ClassCounts(names=self.names, rows=self.rows.copy(), labels=labels)

    def plus(self, other: "ClassCounts") -> "ClassCounts | None":
        """The counts of both. None: they are of other classes. Labels must be known of both."""
        if self.names != other.names:
            return None

        labels: Counter[int] | None = None
        if self.labels is not None and other.labels is not None:
            labels = self.labels + other.labels
        return ClassCounts(names=self.names, rows=self.rows + other.rows, labels=labels)

    def labelled_rows(self) -> "LabelledCounts":
        """The labelled rows, one entry for each key."""
        labels = self.labels or Counter()
        keys = np.fromiter(sorted(labels), np.int64, len(labels))
        rows = np.array([labels[key] for key in keys.tolist()], np.int64)

        rest, label_bins = np.divmod(keys, MOST_LABEL_BINS)
        rest, of_label = np.divmod(rest, len(self.names))
        predicted, bins = np.divmod(rest, N_BINS)
        return LabelledCounts(predicted, bins, of_label, label_bins, rows)

    def to_row(self) -> dict[str, Any]:
        """The values of its columns in a table of profiles."""
        row: dict[str, Any] = {"class_names": list(self.names), "class_rows": self.rows.ravel()}
        if self.labels is not None:
            keys = sorted(self.labels)
            row["class_label_keys"] = keys
            row["class_label_rows"] = [self.labels[key] for key in keys]
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self | None:
        """From the values of its columns, where lists of numbers are arrays. None: not stored.

        Raises:
            ValueError: They do not fit each other.
        """
        if row["class_names"] is None:
            return None

        names = tuple(row["class_names"])
        rows = row["class_rows"].reshape(len(names), N_BINS)

        if row["class_label_keys"] is None:
            return cls(names=names, rows=rows)

        keys, counts = row["class_label_keys"].tolist(), row["class_label_rows"].tolist()
        if keys and not 0 <= min(keys) <= max(keys) < _n_keys(len(names)):
            raise ValueError("labelled rows of classes or bins that there are not")
        return cls(names=names, rows=rows, labels=Counter(dict(zip(keys, counts, strict=True))))


@dataclass(frozen=True, slots=True)
class LabelledCounts:
    """Labelled rows of a baseline. All have the shape (n,)."""

    predicted: Counts
    """Places of the predicted classes."""
    bins: Counts
    """Of the winning probability."""
    labels: Counts
    """Places of the true classes."""
    label_bins: Counts
    """Bins of the true classes' probabilities, among the bins of their columns."""
    rows: Counts


def label_keys(cells: Counts, labels: Counts, label_bins: Counts, n_classes: int) -> Counts:
    """A number for each combination that labelled rows are counted by.

    Args:
        cells: Predicted class times `N_BINS` plus bin.
        labels: Places of the true classes.
        label_bins: Bins of the true classes' probabilities.
        n_classes: Of the model.
    """
    return (cells * n_classes + labels) * MOST_LABEL_BINS + label_bins


def _n_keys(n_classes: int) -> int:
    return n_classes * N_BINS * n_classes * MOST_LABEL_BINS
