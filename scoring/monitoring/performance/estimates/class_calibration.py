"""What a baseline's labels say about a model of several classes.

The shares of the classes among the labels are the labels' own means, as of binary models. They are
taken by cell: of a predicted class, as many bins of the winning probability as it takes for
`LEAST_IN_CELL` labelled rows, so that the spread of their labels shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.expected_classes import LabelledRows
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.class_counter import PREDICTED, ClassColumns
from nightscore.profiles.class_counts import N_BINS, ClassCounts, LabelledCounts
from nightscore.profiles.table import ColumnProfile

LEAST_IN_CELL = 20
"""Labelled rows. With few, the spread of their labels is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCalibration:
    """A baseline's labels by predicted class and winning probability."""

    names: tuple[str, ...]
    """Of the classes."""
    cell_of_bin: Counts
    """The cell of each predicted class and bin, shape (classes, N_BINS)."""
    predicted: Counts
    """The place of each cell's predicted class, shape (cells,)."""
    labelled: Floats
    """Labelled rows, shape (cells,)."""
    shares: Floats
    """Shares of the classes among them, shape (cells, classes)."""
    rows: LabelledRows
    """The labelled rows themselves, by cell, label and bin of the label's probability."""
    columns: tuple[Calibration, ...]
    """Of each class's probability: whether the label is the class."""

    @classmethod
    def of(cls, columns: Sequence[ColumnProfile]) -> Self:
        """The calibration that a baseline's profile of its predictions holds.

        Raises:
            ValueError: It has no labels; with the reason.
        """
        by_name = predictions_of(columns)
        classes = by_name[PREDICTED].classes if PREDICTED in by_name else None
        if classes is None or classes.labels is None:
            raise ValueError("it has no labels")

        if not classes.labels:
            raise ValueError("none of its rows has a label")

        counts = classes.labelled_rows()
        cell_of_bin = _unite(_labelled_by_bin(counts, len(classes.names)))
        return cls._of_cells(classes, counts, cell_of_bin, by_name)

    @classmethod
    def _of_cells(
        cls,
        classes: ClassCounts,
        counts: LabelledCounts,
        cell_of_bin: Counts,
        by_name: Mapping[str, ColumnProfile],
    ) -> Self:
        n_cells, n_classes = int(cell_of_bin.max()) + 1, len(classes.names)
        cells = cell_of_bin[counts.predicted, counts.bins]

        by_label = np.zeros((n_cells, n_classes))
        np.add.at(by_label, (cells, counts.labels), counts.rows)

        predicted = np.empty(n_cells, np.int64)
        predicted[cell_of_bin] = np.arange(n_classes)[:, np.newaxis]

        names = ClassColumns(classes.names).probabilities
        return cls(
            names=classes.names,
            cell_of_bin=cell_of_bin,
            predicted=predicted,
            labelled=by_label.sum(1),
            shares=_shares(by_label, predicted),
            rows=LabelledRows(cells, counts.labels, counts.label_bins, counts.rows),
            columns=tuple(Calibration.of(by_name[name]) for name in names),
        )

    @property
    def n_labelled(self) -> int:
        """Labelled rows."""
        return round(float(self.labelled.sum()))

    @property
    def labels_of_classes(self) -> Floats:
        """Labelled rows by their label, shape (classes,)."""
        n_rows = np.bincount(self.rows.labels, self.rows.rows, len(self.names))
        return n_rows.astype(np.float64)

    @property
    def predictions_of_classes(self) -> Floats:
        """Labelled rows by their predicted class, shape (classes,)."""
        n_rows = np.bincount(self.predicted, self.labelled, len(self.names))
        return n_rows.astype(np.float64)


def predictions_of(columns: Sequence[ColumnProfile]) -> dict[str, ColumnProfile]:
    """The profiles of prediction columns, of all rows, by name."""
    return {
        column.name: column
        for column in columns
        if column.role == "prediction" and not column.segment
    }


def _labelled_by_bin(counts: LabelledCounts, n_classes: int) -> Counts:
    by_bin = np.zeros((n_classes, N_BINS), np.int64)
    np.add.at(by_bin, (counts.predicted, counts.bins), counts.rows)
    return by_bin


def _unite(labelled: Counts) -> Counts:
    """The cell of each predicted class and bin.

    Bins are united with the next ones until they have enough labelled rows; the last ones of a
    class with those before.

    Args:
        labelled: Labelled rows, shape (classes, bins).
    """
    cells = np.empty_like(labelled)
    n_cells = 0

    for place, of_bins in enumerate(labelled.tolist()):
        first, n_rows = n_cells, 0
        for number, n_more in enumerate(of_bins):
            cells[place, number] = n_cells
            n_rows += n_more
            if n_rows >= LEAST_IN_CELL:
                n_cells, n_rows = n_cells + 1, 0

        is_short = cells[place] == n_cells
        if n_cells == first:
            n_cells += 1
        else:
            cells[place, is_short] = n_cells - 1

    return cells


def _shares(by_label: Floats, predicted: Counts) -> Floats:
    """Shares of the labels in each cell.

    Of a class that no labelled row is predicted to be, predictions are as often right as all
    others, and wrong ones have the labels that all rows have.
    """
    n_labelled = by_label.sum(1)
    rows = np.arange(len(by_label))
    accuracy = by_label[rows, predicted].sum() / n_labelled.sum()

    usual = np.tile(by_label.sum(0) / n_labelled.sum() * (1 - accuracy), (len(by_label), 1))
    usual[rows, predicted] += accuracy

    is_known = (n_labelled > 0)[:, np.newaxis]
    return np.where(is_known, by_label / np.maximum(n_labelled, 1)[:, np.newaxis], usual)
