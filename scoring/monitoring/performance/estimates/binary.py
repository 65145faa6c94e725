"""Estimated metrics of a binary model as records, with what a reader should know of each."""

from collections.abc import Mapping

import numpy as np

from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.monitoring.performance.estimates.expected import (
    Bins,
    Estimate,
    band_ends,
    expected_metrics,
    expected_outcomes,
    greatest_share,
)
from nightscore.monitoring.performance.estimates.placement import (
    LIKELY,
    OTHER_BINS,
    Placement,
    predicted_positive,
)
from nightscore.monitoring.performance.estimates.within_bins import PARTS, shares_of_parts
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord

LEAST_ROWS = 100
"""Rows of a partition. From here on the bands of the simulation cover what they say."""
LEAST_ROWS_OF_DECISIONS = 1_000
"""For metrics of the rows that are predicted positive, or rank first: few rows make them."""
LEAST_LABELLED = 50
"""Positive rows of the baseline, and negative ones. With fewer, bands cover less than they say."""
OF_DECISIONS = ("precision", "recall", "f1", "average_precision")
OUTCOMES = ("tp", "fp", "fn", "tn")
OF_THRESHOLD = ("accuracy", "precision", "recall", "f1", "value", *OUTCOMES)
LARGE_SHARE = 0.1
"""Of the expected positive rows in one bin. The order within it decides the average precision."""


def estimate_metrics(
    placement: Placement, calibration: Calibration, decision: Decision
) -> list[MetricRecord]:
    """The expected metrics and outcomes of a partition, or of several together, with 95 % bands.

    They hold as far as a score means what it meant in the baseline (no concept drift).

    Args:
        placement: The partition's scores in the baseline's bins.
        calibration: Of the baseline.
        decision: Threshold and values.
    """
    n_rows = placement.n_rows

    bins = _bins(placement, calibration, decision.threshold)
    estimates = expected_metrics(bins, decision.values) | expected_outcomes(bins)
    notes = _approximations(placement, bins, decision.threshold)

    too_few_labels = _why_too_few_labels(calibration)
    records = []
    for name, estimate in estimates.items():
        why = _why_too_few_rows(name, n_rows) or too_few_labels
        if why:
            records.append(MetricRecord(name=name, n=n_rows, note=why))
        else:
            records.append(_record(name, estimate, n_rows, notes))

    return records


def baseline_metrics(calibration: Calibration, decision: Decision) -> list[MetricRecord]:
    """The metrics that the baseline's labelled rows have, from its bins."""
    rows = np.tile(calibration.labelled, (3, 1))
    placement = Placement(rows, rows * calibration.scores, True)
    bins = _bins(placement, calibration, decision.threshold)
    notes = _approximations(placement, bins, decision.threshold)

    records = []
    for name, estimate in expected_metrics(bins, decision.values).items():
        record = _record(name, estimate, placement.n_rows, notes)
        records.append(record.model_copy(update={"low": None, "high": None}))

    return records


def _bins(placement: Placement, calibration: Calibration, threshold: float) -> Bins:
    """All cases of the counts with all cases of the threshold: shape (cases, cases, bins)."""
    rows = placement.rows[:, np.newaxis]
    sums = placement.sums[:, np.newaxis]
    above = predicted_positive(calibration, threshold)
    if placement.is_exact:
        rows, sums = rows[:1], sums[:1]  # all cases are the same
    if (above == above[LIKELY]).all():
        above = above[:1]

    scores = np.where(rows > 0, sums / np.maximum(rows, 1e-300), calibration.scores)
    parts = shares_of_parts(
        calibration.shares, calibration.scores, scores, calibration.ends, calibration.curve
    )
    shape = np.broadcast_shapes(rows.shape, above.shape)

    return Bins(
        rows=np.broadcast_to(rows, shape),
        scores=np.broadcast_to(scores, shape),
        shares=np.broadcast_to(parts.mean(-1), shape),
        variances=calibration.variances,
        labelled=calibration.labelled,
        predicted_positive=np.broadcast_to(above, shape),
        parts=np.broadcast_to(parts, (*shape, PARTS)),
    )


def _record(name: str, estimate: Estimate, n_rows: int, notes: Mapping[str, str]) -> MetricRecord:
    """The likely case's value. The band covers those of all cases."""
    value = float(estimate.value[LIKELY, LIKELY])
    if not np.isfinite(value):
        return MetricRecord(name=name, n=n_rows, note=_why_undefined(name))

    low, high = _band(name, estimate, n_rows)
    note = notes.get(name, "")
    return MetricRecord(name=name, value=value, low=low, high=high, n=n_rows, note=note)


def _band(name: str, estimate: Estimate, n_rows: int) -> tuple[float, float]:
    lows, highs = band_ends(name, estimate)

    # Cases that are undefined, which are NaN, have no part in it.
    low = float(np.fmin.reduce(lows, axis=None))
    high = float(np.fmax.reduce(highs, axis=None))
    return within_range(name, low, high, n_rows)


def within_range(name: str, low: float, high: float, n_rows: int) -> tuple[float, float]:
    """The ends of a band, where the metric can be."""
    if name == "value":
        return low, high
    if name == "log_loss":
        return max(0.0, low), high
    greatest = float(n_rows) if name in OUTCOMES else 1.0
    return max(0.0, low), min(greatest, high)


def _why_too_few_rows(name: str, n_rows: int) -> str:
    least = LEAST_ROWS_OF_DECISIONS if name in OF_DECISIONS else LEAST_ROWS
    if n_rows < least:
        return f"too few: {n_rows:,} rows, at least {least:,} are needed"
    return ""


def _why_too_few_labels(calibration: Calibration) -> str:
    counts = {"positive": calibration.n_positive, "negative": calibration.n_negative}
    for words, count in counts.items():
        if count < LEAST_LABELLED:
            return (
                f"too few: the baseline has {round(count):,} {words} rows, "
                f"at least {LEAST_LABELLED} are needed"
            )
    return ""


def _why_undefined(name: str) -> str:
    if name == "precision":
        return "no row is predicted positive"
    return "one class only"


def _approximations(placement: Placement, bins: Bins, threshold: float) -> dict[str, str]:
    """Why a metric is approximate, by its name."""
    reasons: dict[str, list[str]] = {}

    if not placement.is_exact:
        for name in ("roc_auc", "average_precision", "log_loss", "brier", *OF_THRESHOLD):
            reasons.setdefault(name, []).append(OTHER_BINS)

    if bins.predicted_positive.shape[1] > 1:
        for name in OF_THRESHOLD:
            words = f"the threshold {threshold:g} is no edge of the baseline's bins"
            reasons.setdefault(name, []).append(words)

    with np.errstate(invalid="ignore"):
        share = float(greatest_share(bins)[LIKELY, LIKELY])
    if share > LARGE_SHARE:
        words = f"one bin of the score holds {share:.0%} of the positive rows"
        reasons.setdefault("average_precision", []).append(words)

    return {name: f"approximate: {'; '.join(words)}" for name, words in reasons.items()}
