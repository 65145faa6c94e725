"""Counting the rows of a shard by predicted class and winning probability, batch by batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from nightscore.arrow.numeric import numeric_values
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.class_codes import Codes, class_codes
from nightscore.profiles.class_counts import (
    GRID,
    N_BINS,
    WINNING_EDGES,
    ClassCounts,
    label_keys,
)
from nightscore.profiles.edges import Edges
from nightscore.schemas.performance import MOST_CLASSES

PREDICTED = "prediction"
"""The prediction column with the predicted class."""
PREFIX = "probability_"
"""What the columns of the classes' probabilities begin with."""
BLOCK_ROWS = 8_192
"""Rows that are counted at once. Arrays of more than 128 KiB are mapped anew each time."""
_BIN_OF_PART = np.searchsorted(WINNING_EDGES, np.arange(GRID + 1) / GRID, side="right")
"""The bin of each part of the unit interval; the last one is that of 1."""


@dataclass(frozen=True, slots=True)
class ClassColumns:
    """The prediction columns of a model of several classes."""

    names: tuple[str, ...]
    """Of the classes, in the order of the columns."""

    @classmethod
    def of(cls, predictions: Sequence[str]) -> Self | None:
        """Those among a model's prediction columns. None: it has none, or too many classes."""
        names = class_names(predictions)
        if PREDICTED not in predictions or not names or len(names) > MOST_CLASSES:
            return None
        return cls(names)

    @property
    def probabilities(self) -> tuple[str, ...]:
        """Names of the columns of probabilities."""
        return tuple(f"{PREFIX}{name}" for name in self.names)


def class_names(predictions: Sequence[str]) -> tuple[str, ...]:
    """The classes of which there are columns of probabilities."""
    found = [name.removeprefix(PREFIX) for name in predictions if name.startswith(PREFIX)]
    return tuple(found)


class ClassCounter:
    """Counts rows, but not those without a class or with a missing probability."""

    def __init__(self, columns: ClassColumns, *, with_labels: bool) -> None:
        """Begin with no rows.

        Args:
            columns: Of the predictions.
            with_labels: Whether labelled rows are counted, too.
        """
        self._columns = columns
        self.counts = ClassCounts.empty(columns.names, with_labels=with_labels)

    def add(
        self, predictions: pa.Table, labels: Codes | None, edges: Mapping[str, Edges | None]
    ) -> None:
        """Count a batch.

        Args:
            predictions: Of the rows that are scored.
            labels: Places of these rows' labels among the classes, or one more: no label.
            edges: Of the bins of each column of probabilities; they are needed with labels only.
        """
        n_classes = len(self._columns.names)
        predicted = class_codes(predictions.column(PREDICTED), self._columns.names)
        columns = [_floats(predictions.column(name)) for name in self._columns.probabilities]

        n_cells = n_classes * N_BINS
        counted = np.zeros(n_cells + 1, np.int64)
        for rows in blocks(len(predicted)):
            of_block = [column[rows] for column in columns]
            cells = _cells(predicted[rows], of_block, n_classes)
            counted += np.bincount(cells, minlength=n_cells + 1)

            if self.counts.labels is not None and labels is not None:
                self._count_labels(cells, of_block, labels[rows], edges)

        self.counts.rows += counted[:n_cells].reshape(n_classes, N_BINS)

    def _count_labels(
        self,
        cells: Counts,
        columns: Sequence[Floats],
        labels: Codes,
        edges: Mapping[str, Edges | None],
    ) -> None:
        assert self.counts.labels is not None  # noqa: S101
        n_classes = len(columns)

        for place, name in enumerate(self._columns.probabilities):
            chosen = (labels == place) & (cells < n_classes * N_BINS)
            of_column = edges[name]
            inner = np.empty(0) if of_column is None else of_column.both

            bins = np.searchsorted(inner, columns[place][chosen], side="left")

            own = np.full(len(bins), place, np.int64)
            keys, rows = np.unique(
                label_keys(cells[chosen], own, bins, n_classes), return_counts=True
            )
            self.counts.labels.update(dict(zip(keys.tolist(), rows.tolist(), strict=True)))


def blocks(n_rows: int) -> list[slice]:
    """Slices that cover the rows."""
    return [slice(start, start + BLOCK_ROWS) for start in range(0, n_rows, BLOCK_ROWS)]


def _cells(predicted: Codes, columns: Sequence[Floats], n_classes: int) -> Counts:
    """Predicted class times `N_BINS` plus bin; rows that are not counted have one cell more."""
    winning = columns[0].copy()
    for column in columns[1:]:
        np.maximum(winning, column, out=winning)  # NaN if any is

    # Of a complete batch, which is usual, no row is looked at twice.
    is_complete = winning.min() >= 0 and winning.max() <= 1 and predicted.max() < n_classes
    if is_complete:
        return _cells_of(predicted, winning)

    is_known = (winning >= 0) & (winning <= 1) & (predicted < n_classes)
    cells = np.full(len(predicted), n_classes * N_BINS, np.int64)
    cells[is_known] = _cells_of(predicted[is_known], winning[is_known])

    return cells


def _cells_of(predicted: Codes, winning: Floats) -> Counts:
    parts = (winning * GRID).astype(np.int32)  # exact: it changes the exponent only
    return predicted * np.int64(N_BINS) + _BIN_OF_PART[parts]


def _floats(column: pa.ChunkedArray) -> Floats:
    """Null as NaN."""
    chunks = [numeric_values(chunk) for chunk in column.chunks]
    if len(chunks) == 1:
        return chunks[0]
    return np.concatenate([np.empty(0), *chunks])
