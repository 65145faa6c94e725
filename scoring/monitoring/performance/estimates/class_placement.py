"""Places the rows of partitions into the cells and the bins of a baseline of several classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nightscore.monitoring.performance.estimates.class_calibration import (
    ClassCalibration,
    predictions_of,
)
from nightscore.monitoring.performance.estimates.expected_classes import Cells, ClassBins
from nightscore.monitoring.performance.estimates.placement import (
    LIKELY,
    Placement,
    add_up,
    place,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.class_counter import PREDICTED, ClassColumns
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile

NOT_STORED = (
    "not stored: an older version scored the partition, without rows by predicted class and "
    "probability"
)


@dataclass(frozen=True, slots=True)
class ClassPlacement:
    """Rows of a partition, or of several together."""

    rows: Floats
    """By predicted class and bin of the winning probability, shape (classes, N_BINS). These bins
    are the same for all runs."""
    columns: tuple[Placement, ...]
    """Of each class's probability, in the bins of the baseline."""

    @property
    def n_rows(self) -> int:
        """Rows that have a predicted class and probabilities."""
        return round(float(self.rows.sum()))

    @property
    def is_exact(self) -> bool:
        """Whether the probabilities were counted over the baseline's bins."""
        return all(column.is_exact for column in self.columns)


def place_classes(
    columns: Sequence[ColumnProfile], calibration: ClassCalibration
) -> ClassPlacement:
    """The predictions of one partition.

    Raises:
        ValueError: What it takes is not stored; with the reason.
    """
    by_name = predictions_of(columns)
    classes = by_name[PREDICTED].classes if PREDICTED in by_name else None
    if classes is None:
        raise ValueError(NOT_STORED)

    if classes.names != calibration.names:
        raise ValueError(
            f"the run has the classes {', '.join(classes.names)}, the baseline "
            f"{', '.join(calibration.names)}"
        )

    placements = []

    names = ClassColumns(classes.names).probabilities
    for name, of_column in zip(names, calibration.columns, strict=True):
        profile = by_name[name].profile if name in by_name else None
        if not isinstance(profile, NumberProfile):
            raise ValueError(f"not stored: the run has no profile of {name}")
        placements.append(place(profile, of_column))

    return ClassPlacement(classes.rows.astype(np.float64), tuple(placements))


def add_up_classes(placements: Iterable[ClassPlacement]) -> ClassPlacement:
    """The predictions of several partitions together."""
    parts = list(placements)
    rows = np.sum([part.rows for part in parts], axis=0)
    by_column = zip(*(part.columns for part in parts), strict=True)
    return ClassPlacement(rows, tuple(add_up(columns) for columns in by_column))


def place_baseline(calibration: ClassCalibration) -> ClassPlacement:
    """The baseline's own labelled rows."""
    # Each cell's rows stand in its first bin: what they are in within the cell does not matter.
    _, first = np.unique(calibration.cell_of_bin, return_index=True)
    rows = np.zeros(calibration.cell_of_bin.size)
    rows[first] = calibration.labelled

    columns = []
    for column in calibration.columns:
        by_bin = np.tile(column.labelled, (3, 1))
        columns.append(Placement(by_bin, by_bin * column.scores, True))

    return ClassPlacement(rows.reshape(calibration.cell_of_bin.shape), tuple(columns))


def cells_of(placement: ClassPlacement, calibration: ClassCalibration) -> Cells:
    """The rows in the cells of the baseline."""
    n_cells = len(calibration.predicted)
    summed = np.bincount(calibration.cell_of_bin.ravel(), placement.rows.ravel(), n_cells)
    rows: Floats = summed.astype(np.float64)
    return Cells(calibration.predicted, rows, calibration.labelled, calibration.shares)


def bins_of(
    placement: ClassPlacement, calibration: ClassCalibration, case: int = LIKELY
) -> list[ClassBins]:
    """The rows in the bins of each class's probability.

    Args:
        placement: The rows.
        calibration: The baseline.
        case: Of those that a placement over other bins has.
    """
    bins = []

    for placed, known in zip(placement.columns, calibration.columns, strict=True):
        rows, sums = placed.rows[case], placed.sums[case]

        # A bin without rows has no mean: the baseline's will do.
        scores = np.where(rows > 0, sums / np.maximum(rows, 1e-300), known.scores)
        bins.append(ClassBins(rows, scores, known.shares, known.labelled))

    return bins
