"""Estimated metrics of a model of several classes as records, with what a reader should know."""

from collections.abc import Iterator, Mapping

import numpy as np

from nightscore.monitoring.performance.estimates.class_calibration import ClassCalibration
from nightscore.monitoring.performance.estimates.class_placement import (
    ClassPlacement,
    bins_of,
    cells_of,
    place_baseline,
)
from nightscore.monitoring.performance.estimates.class_sizes import why_not, why_nothing
from nightscore.monitoring.performance.estimates.expected import Estimate
from nightscore.monitoring.performance.estimates.expected_classes import (
    Cells,
    metrics_of_each_class,
    metrics_of_labels,
    metrics_of_probabilities,
)
from nightscore.monitoring.performance.estimates.placement import HIGH, LOW, OTHER_BINS
from nightscore.monitoring.performance.metrics.intervals import Z_95
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

OF_ALL_CLASSES = (
    "roc_auc_macro",
    "log_loss",
    "brier",
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
)
"""Metrics of all classes together, in the order in which people see them."""
GREATEST = {"log_loss": np.inf, "brier": 2.0}
"""The greatest values of metrics that can be above 1."""


def estimate_classes(
    placement: ClassPlacement, calibration: ClassCalibration
) -> list[MetricRecord]:
    """The expected metrics of a partition, or of several together, with 95 % bands.

    First those of all classes together, then `NAME[CLASS]` of each class, where `rows` are the rows
    that are expected to be of the class. They hold as far as a prediction means what it meant in
    the baseline (no concept drift).

    Args:
        placement: The partition's rows in the baseline's cells and bins.
        calibration: Of the baseline.
    """
    cells = cells_of(placement, calibration)

    why, reasons = why_nothing(cells, calibration), why_not(cells, calibration)
    note = "" if placement.is_exact else f"approximate: {OTHER_BINS}"

    records = []
    for name, (estimate, margin) in _estimates(placement, calibration, cells).items():
        reason = why or reasons.get(name, "")

        if reason:
            records.append(MetricRecord(name=name, n=placement.n_rows, note=reason))
        else:
            own_note = note if margin is not None else ""
            records.append(_record(name, estimate, margin, placement.n_rows, own_note))

    if _comes_true_against_all_odds(placement, calibration):
        return [_without_band(one) if one.name == "log_loss" else one for one in records]
    return records


def baseline_classes(calibration: ClassCalibration) -> list[MetricRecord]:
    """The metrics that the baseline's labelled rows have, from its cells and bins."""
    placement = place_baseline(calibration)
    cells = cells_of(placement, calibration)

    records = []
    for name, (estimate, _) in _estimates(placement, calibration, cells).items():
        record = _record(name, estimate, None, placement.n_rows, "")
        records.append(record.model_copy(update={"low": None, "high": None}))
    return records


def _comes_true_against_all_odds(placement: ClassPlacement, calibration: ClassCalibration) -> bool:
    """Whether labels are expected of a class that was given a probability of 0."""
    for bins in bins_of(placement, calibration):
        is_impossible = (bins.scores == 0) & (bins.rows > 0)
        if bins.shares[is_impossible].any():
            return True

    return False


def _without_band(log_loss: MetricRecord) -> MetricRecord:
    """Each such row costs 36, and how many there will be cannot be told."""
    if log_loss.value is None:
        return log_loss

    note = "no band: rows of a class that is given a probability of 0 come true"
    return log_loss.model_copy(update={"low": None, "high": None, "note": note})


Margin = Floats | None
"""How much lower and higher a metric is in the extreme cases, shape (2,). None: it is exact."""


def _estimates(
    placement: ClassPlacement, calibration: ClassCalibration, cells: Cells
) -> dict[str, tuple[Estimate, Margin]]:
    """All metrics by the names of their records."""
    of_probabilities, margins = _of_probabilities(placement, calibration, cells)
    areas = of_probabilities.pop("roc_auc")
    together = of_probabilities | metrics_of_labels(cells)

    estimates: dict[str, tuple[Estimate, Margin]] = {}
    for name in OF_ALL_CLASSES:
        estimates[name] = together[name], margins.get(name)

    for name, of_classes in {"roc_auc": areas, **metrics_of_each_class(cells)}.items():
        named = _by_class(name, of_classes, calibration.names)
        for place, (of_class, estimate) in enumerate(named):
            margin = margins[name][place] if name in margins else None
            estimates[of_class] = estimate, margin

    return estimates


def _by_class(
    name: str, of_classes: Estimate, classes: tuple[str, ...]
) -> Iterator[tuple[str, Estimate]]:
    for of_class, value, error in zip(classes, of_classes.value, of_classes.error, strict=True):
        yield f"{name}[{of_class}]", Estimate(value, error)


def _of_probabilities(
    placement: ClassPlacement, calibration: ClassCalibration, cells: Cells
) -> tuple[dict[str, Estimate], Mapping[str, Floats]]:
    """The metrics of probabilities. If they are not exact, also the margins of each."""
    likely = metrics_of_probabilities(cells, bins_of(placement, calibration), calibration.rows)
    if placement.is_exact:
        return likely, {}

    extremes = []
    for case in (LOW, HIGH):
        bins = bins_of(placement, calibration, case)
        extremes.append(metrics_of_probabilities(cells, bins, calibration.rows))

    margins = {}
    for name, estimate in likely.items():
        differences = [one[name].value - estimate.value for one in extremes]
        ends = np.stack([np.zeros_like(estimate.value), *differences])
        margins[name] = np.stack([ends.min(0), ends.max(0)], axis=-1)

    return likely, margins


def _record(name: str, estimate: Estimate, margin: Margin, n_rows: int, note: str) -> MetricRecord:
    value, spread = float(estimate.value), Z_95 * float(estimate.error)
    if not np.isfinite(value):
        return MetricRecord(name=name, n=n_rows, note="no row is of the class, or all are")

    low, high = value - spread, value + spread
    if margin is not None:
        low, high = low + float(margin[0]), high + float(margin[1])

    # No share is beyond 0 and 1.
    greatest = n_rows if name.startswith("rows[") else GREATEST.get(name, 1.0)

    return MetricRecord(
        name=name,
        value=value,
        low=max(0.0, low),
        high=min(float(greatest), high),
        n=n_rows,
        note=note,
    )
