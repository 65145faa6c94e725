"""Whether rows are enough to estimate the metrics of several classes."""

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.performance.estimates.binary import (
    LEAST_LABELLED,
    LEAST_ROWS,
    LEAST_ROWS_OF_DECISIONS,
)
from nightscore.monitoring.performance.estimates.class_calibration import (
    LEAST_IN_CELL,
    ClassCalibration,
)
from nightscore.monitoring.performance.estimates.expected_classes import (
    OF_A_CLASS,
    Cells,
    expected_confusion,
)
from nightscore.profiles.bins import Floats

Flags = npt.NDArray[np.bool_]

LEAST_LABELLED_IN_ALL = 500
"""Rows of the baseline."""
LEAST_OF_CLASS = 50
"""Rows that are predicted to be of a class, for its precision; that are expected to be of it, for
its recall; both for F1; and as many labelled ones of the baseline."""
MOST_UNKNOWN = 0.01
"""Of the rows, whose predicted class the baseline has hardly any labelled row of."""
MOST_NAMED = 5


def why_nothing(cells: Cells, calibration: ClassCalibration) -> str:
    """Why no metric can be estimated; empty if some can."""
    n_rows = round(float(cells.rows.sum()))

    if n_rows < LEAST_ROWS:
        return f"too few: {n_rows:,} rows, at least {LEAST_ROWS:,} are needed"

    if calibration.n_labelled < LEAST_LABELLED_IN_ALL:
        return (
            f"too few: the baseline has {calibration.n_labelled:,} labelled rows, "
            f"at least {LEAST_LABELLED_IN_ALL:,} are needed"
        )

    is_rare = calibration.predictions_of_classes[cells.predicted] < LEAST_IN_CELL
    if why := _why_unlike(cells, calibration, is_rare):
        few = f"fewer than {LEAST_IN_CELL} labelled ones"
        return f"{why}; of rows predicted so, the baseline has {few}"

    # Such predictions would all be wrong, and the band would have no width.
    is_unseen = calibration.labels_of_classes[cells.predicted] == 0
    if why := _why_unlike(cells, calibration, is_unseen):
        return f"{why}; the baseline has no row with such a label"

    return ""


def _why_unlike(cells: Cells, calibration: ClassCalibration, is_unlike: Flags) -> str:
    """Which classes are predicted without the labels that it takes; empty if few rows are so.

    Args:
        cells: The rows.
        calibration: Of the baseline.
        is_unlike: Whether labels are missing, shape (cells,).
    """
    n_unlike = round(float(cells.rows[is_unlike].sum()))
    if n_unlike <= MOST_UNKNOWN * float(cells.rows.sum()):
        return ""

    present = np.unique(cells.predicted[is_unlike & (cells.rows > 0)]).tolist()
    shown = ", ".join(calibration.names[place] for place in present[:MOST_NAMED])
    more = f" and {len(present) - MOST_NAMED} more classes" if len(present) > MOST_NAMED else ""
    return f"too few: {n_unlike:,} rows are predicted to be {shown}{more}"


def why_not(cells: Cells, calibration: ClassCalibration) -> dict[str, str]:
    """Why some metrics cannot be estimated, by their names.

    A mean over classes needs enough rows of each class that occurs.
    """
    confusion = expected_confusion(cells)
    predicted = _too_few(
        confusion.sum(0), calibration.predictions_of_classes, calibration, "predicted to be"
    )
    expected = _too_few(
        confusion.sum(1), calibration.labels_of_classes, calibration, "expected to be"
    )
    predicted = {**_without_labels(calibration), **predicted}
    of_labels = {"precision": predicted, "recall": expected, "f1": predicted | expected}

    n_rows = round(float(cells.rows.sum()))
    if n_rows < LEAST_ROWS_OF_DECISIONS:
        few = f"too few: {n_rows:,} rows, at least {LEAST_ROWS_OF_DECISIONS:,} are needed"
        of_labels = dict.fromkeys(OF_A_CLASS, dict.fromkeys(calibration.names, few))

    of_areas = _too_few_labelled(calibration)

    reasons: dict[str, str] = {}
    for name, by_class in {"roc_auc": of_areas, **of_labels}.items():
        for of_class, reason in by_class.items():
            reasons[f"{name}[{of_class}]"] = reason
            reasons.setdefault(f"{name}_macro", reason)

    return reasons


def _too_few(
    now: Floats, in_baseline: Floats, calibration: ClassCalibration, verb: str
) -> dict[str, str]:
    """Classes of too few rows, and the reason."""
    reasons = {}

    for name, n_rows, n_labelled in zip(calibration.names, now, in_baseline, strict=True):
        if n_labelled < LEAST_OF_CLASS:
            labelled = "labelled rows of it" if verb == "expected to be" else "such labelled rows"
            reasons[name] = (
                f"too few: class {name}: the baseline has {round(n_labelled):,} {labelled}, "
                f"at least {LEAST_OF_CLASS} are needed"
            )
        elif n_rows < LEAST_OF_CLASS:
            reasons[name] = (
                f"too few: {round(n_rows):,} rows are {verb} {name}, at least {LEAST_OF_CLASS} "
                "are needed"
            )

    return reasons


def _without_labels(calibration: ClassCalibration) -> dict[str, str]:
    """Classes that no label of the baseline has, and the reason."""
    pairs = zip(calibration.names, calibration.labels_of_classes.tolist(), strict=True)
    unseen = [name for name, n_labelled in pairs if not n_labelled]
    why = "the baseline has no labelled row of it"
    return {name: f"too few: class {name}: {why}" for name in unseen}


def _too_few_labelled(calibration: ClassCalibration) -> dict[str, str]:
    """Classes whose ROC AUC the baseline has too few rows for, and the reason."""
    reasons = {}

    counts = zip(calibration.names, calibration.labels_of_classes.tolist(), strict=True)
    for name, n_labelled in counts:
        n_least = min(n_labelled, calibration.n_labelled - n_labelled)
        if n_least < LEAST_LABELLED:
            reasons[name] = (
                f"too few: class {name}: the baseline has {round(n_labelled):,} of "
                f"{calibration.n_labelled:,} labelled rows of it; at least {LEAST_LABELLED} rows "
                "of it and of others are needed"
            )

    return reasons
