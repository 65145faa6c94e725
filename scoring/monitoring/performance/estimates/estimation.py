"""Estimates of any model that can be estimated: what its predictions are decides how."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from nightscore.monitoring.performance.estimates.binary import (
    baseline_metrics,
    estimate_each,
    estimate_metrics,
)
from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.class_calibration import (
    ClassCalibration,
    predictions_of,
)
from nightscore.monitoring.performance.estimates.class_placement import (
    ClassPlacement,
    add_up_classes,
    cells_of,
    place_classes,
)
from nightscore.monitoring.performance.estimates.class_sizes import why_nothing
from nightscore.monitoring.performance.estimates.classes import baseline_classes, estimate_classes
from nightscore.monitoring.performance.estimates.error_calibration import FLOATS, ErrorCalibration
from nightscore.monitoring.performance.estimates.expected_classes import expected_confusion
from nightscore.monitoring.performance.estimates.placement import Placement, add_up, place
from nightscore.monitoring.performance.estimates.regression import baseline_errors, estimate_errors
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.profile_spec import BINARY_SCORE, NUMBER_SCORE, score_column
from nightscore.profiles.table import ColumnProfile
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import EstimateRecord, MetricRecord


class ExpectedConfusion(NamedTuple):
    """Rows that are expected of each class and predicted to be each class."""

    classes: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    """By the class that comes true, then by the predicted one, both in the order of `classes`."""


AnyCalibration = Calibration | ErrorCalibration | ClassCalibration
AnyPlacement = Placement | ClassPlacement

MOST_RECORDED = 20
"""Classes whose own metrics a run's record has. `nightscore performance` has those of all."""


def is_estimated(columns: Sequence[ColumnProfile]) -> bool:
    """Whether models with these predictions are estimated.

    They are a probability, a regression's number, or a class with a probability of each class.
    """
    return _score_of(columns) is not None or _has_classes(columns)


def calibrate(columns: Sequence[ColumnProfile]) -> AnyCalibration:
    """What a baseline's profile says about the predictions.

    Args:
        columns: Of which `is_estimated` is true.

    Raises:
        ValueError: It has no labels of the kind that is needed; with the reason.
    """
    score = _score_of(columns)
    if score is None:
        return ClassCalibration.of(columns)
    return Calibration.of(score) if score.name == BINARY_SCORE else ErrorCalibration.of(score)


def place_any(columns: Sequence[ColumnProfile], calibration: AnyCalibration) -> AnyPlacement:
    """A partition's predictions in the bins of the baseline.

    Raises:
        ValueError: What it takes is not stored; with the reason.
    """
    if isinstance(calibration, ClassCalibration):
        return place_classes(columns, calibration)

    score = _score_of(columns)
    if score is None or not isinstance(score.profile, NumberProfile):
        raise ValueError("the run's predictions are of another kind than the baseline's")
    return place(score.profile, calibration)


def add_up_any(placements: Iterable[AnyPlacement]) -> AnyPlacement:
    """The predictions of several partitions of one model version together."""
    parts = list(placements)
    if isinstance(parts[0], ClassPlacement):
        return add_up_classes(cast("list[ClassPlacement]", parts))
    return add_up(cast("list[Placement]", parts))


def estimate_placed(
    placement: AnyPlacement, calibration: AnyCalibration, decision: Decision
) -> list[MetricRecord]:
    """The expected metrics of a partition, or of several together, with 95 % bands.

    Args:
        placement: The partition's predictions in the baseline's bins.
        calibration: Of the baseline.
        decision: Threshold and values, of binary models.
    """
    if isinstance(placement, ClassPlacement):
        return estimate_classes(placement, cast("ClassCalibration", calibration))

    if isinstance(calibration, Calibration):
        return estimate_metrics(placement, calibration, decision)

    return estimate_errors(placement, cast("ErrorCalibration", calibration))


def estimate_each_placed(
    placements: Sequence[AnyPlacement], calibration: AnyCalibration, decision: Decision
) -> list[list[MetricRecord]]:
    """The same of each of many partitions. Those of a binary model are computed together."""
    if isinstance(calibration, Calibration):
        return estimate_each(cast("Sequence[Placement]", placements), calibration, decision)
    return [estimate_placed(placement, calibration, decision) for placement in placements]


def expected_confusion_of(
    placement: AnyPlacement, calibration: AnyCalibration
) -> ExpectedConfusion | None:
    """Expected rows by class and by predicted class.

    Returns:
        None: the model has no several classes, or rows or labels are too few to tell.
    """
    if not (isinstance(placement, ClassPlacement) and isinstance(calibration, ClassCalibration)):
        return None

    cells = cells_of(placement, calibration)
    if why_nothing(cells, calibration):
        return None

    rows = expected_confusion(cells).tolist()
    return ExpectedConfusion(calibration.names, tuple(map(tuple, rows)))


def baseline_values(calibration: AnyCalibration, decision: Decision) -> list[MetricRecord]:
    """The same metrics of the baseline's labelled rows."""
    if isinstance(calibration, ClassCalibration):
        return baseline_classes(calibration)
    if isinstance(calibration, Calibration):
        return baseline_metrics(calibration, decision)
    return baseline_errors(calibration)


def estimate_run(
    columns: Sequence[ColumnProfile],
    baseline: Sequence[ColumnProfile],
    reference: str,
    decision: Decision,
) -> EstimateRecord | None:
    """What a run's record says of its performance.

    Args:
        columns: The profiles of the run's predictions.
        baseline: The baseline's profile.
        reference: The baseline's sha256.
        decision: Threshold and values.

    Returns:
        None: nothing can be estimated, since the model has other predictions, or the baseline has
        no labels.
    """
    if not (is_estimated(columns) and is_estimated(baseline)):
        return None

    try:
        calibration = calibrate(baseline)
        placement = place_any(columns, calibration)
    except ValueError:
        return None

    metrics = estimate_placed(placement, calibration, decision)
    values = baseline_values(calibration, decision)
    if isinstance(calibration, ClassCalibration) and len(calibration.names) > MOST_RECORDED:
        metrics, values = _of_all_classes(metrics), _of_all_classes(values)

    return EstimateRecord(metrics=tuple(metrics), baseline=tuple(values), reference=reference)


def _of_all_classes(metrics: Sequence[MetricRecord]) -> list[MetricRecord]:
    return [metric for metric in metrics if "[" not in metric.name]


def _score_of(columns: Sequence[ColumnProfile]) -> ColumnProfile | None:
    """The score, if models with such a score are estimated."""
    by_name = predictions_of(columns)
    name = score_column({name: column.kind for name, column in by_name.items()})
    score = by_name.get(name)
    if score is None or not isinstance(score.profile, NumberProfile):
        return None

    is_number = name == NUMBER_SCORE and score.type in FLOATS
    return score if name == BINARY_SCORE or is_number else None


def _has_classes(columns: Sequence[ColumnProfile]) -> bool:
    return ClassColumns.of(list(predictions_of(columns))) is not None
