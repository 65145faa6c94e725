"""Estimated errors of a regression as records, with what a reader should know of each."""

import math
from collections.abc import Iterator

import numpy as np

from nightscore.monitoring.performance.estimates.binary import LEAST_ROWS
from nightscore.monitoring.performance.estimates.error_calibration import (
    ErrorCalibration,
    mean_errors,
)
from nightscore.monitoring.performance.estimates.expected_errors import (
    ErrorBins,
    ExpectedMean,
    expected_errors,
)
from nightscore.monitoring.performance.estimates.placement import LIKELY, OTHER_BINS, Placement
from nightscore.monitoring.performance.metrics.intervals import (
    Interval,
    log_interval,
    margin_of,
    normal_interval,
)
from nightscore.schemas.performance import MetricRecord

ESTIMATED_ERRORS = ("rmse", "mae", "bias")
"""In the order in which people see them."""
LEAST_LABELLED = 500
"""Rows of the baseline. With fewer, bands of skewed errors cover less than they say."""
NOT_STORED = (
    "not stored: an older version logged the baseline, without sums of errors; "
    "`nightscore baseline --label` logs it again"
)
TOO_LARGE = "errors exceed float64"


def estimate_errors(placement: Placement, calibration: ErrorCalibration) -> list[MetricRecord]:
    """The expected RMSE, MAE and bias of a partition, or of several together, with 95 % bands.

    Bias is the mean of prediction - label. They hold as far as a prediction means what it meant in
    the baseline (no concept drift).

    Args:
        placement: The partition's predictions in the baseline's bins.
        calibration: Of the baseline.
    """
    n_rows = placement.n_rows
    if calibration.sums is None:
        return _unknown(n_rows, NOT_STORED)

    why = _why_too_few(n_rows, calibration.n_labelled)
    if why:
        return _unknown(n_rows, why)

    rows = placement.rows[:1] if placement.is_exact else placement.rows
    means = mean_errors(calibration.labelled, calibration.sums)
    expected = expected_errors(ErrorBins(rows, calibration.labelled, *means))

    note = "" if placement.is_exact else f"approximate: {OTHER_BINS}"
    return [_record(name, expected, n_rows, note) for name in ESTIMATED_ERRORS]


def baseline_errors(calibration: ErrorCalibration) -> list[MetricRecord]:
    """The errors that the baseline's labelled rows have."""
    n_rows = calibration.n_labelled
    if calibration.sums is None:
        return _unknown(n_rows, NOT_STORED)

    with np.errstate(over="ignore", invalid="ignore"):
        means = calibration.sums.sum(1) / n_rows

    error, absolute, square, _ = means.tolist()
    values = {"rmse": math.sqrt(square), "mae": absolute, "bias": error}

    records = []
    for name in ESTIMATED_ERRORS:
        if math.isfinite(values[name]):
            records.append(MetricRecord(name=name, value=values[name], n=n_rows))
        else:
            records.append(MetricRecord(name=name, n=n_rows, note=TOO_LARGE))

    return records


def bands(name: str, expected: ExpectedMean) -> Iterator[Interval]:
    """The 95 % band of each case.

    Sizes and squares of errors are skewed, so their bands are symmetric on the logarithm.

    Args:
        name: One of `ESTIMATED_ERRORS`.
        expected: The mean that it is of: of `rmse`, the mean squared error.
    """
    cases = (np.atleast_1d(column).tolist() for column in expected)

    for value, variance, freedom in zip(*cases, strict=True):
        margin = margin_of(variance, freedom)

        if name == "bias":
            yield normal_interval(value, margin)
        elif name == "mae":
            yield log_interval(value, margin)
        else:
            low, high = log_interval(value, margin)
            yield Interval(math.sqrt(low), math.sqrt(high))


def _record(name: str, expected: dict[str, ExpectedMean], n_rows: int, note: str) -> MetricRecord:
    """The likely case's value. The band covers those of all cases."""
    mean = expected["mse" if name == "rmse" else name]
    if not (np.isfinite(mean.value).all() and np.isfinite(mean.variance).all()):
        return MetricRecord(name=name, n=n_rows, note=TOO_LARGE)

    value = float(mean.value[LIKELY])
    if name == "rmse":
        value = math.sqrt(value)

    of_cases = list(bands(name, mean))
    low = min(band.low for band in of_cases)
    high = max(band.high for band in of_cases)

    return MetricRecord(name=name, value=value, low=low, high=high, n=n_rows, note=note)


def _unknown(n_rows: int, why: str) -> list[MetricRecord]:
    return [MetricRecord(name=name, n=n_rows, note=why) for name in ESTIMATED_ERRORS]


def _why_too_few(n_rows: int, n_labelled: int) -> str:
    if n_rows < LEAST_ROWS:
        return f"too few: {n_rows:,} rows, at least {LEAST_ROWS:,} are needed"
    if n_labelled < LEAST_LABELLED:
        return (
            f"too few: the baseline has {n_labelled:,} labelled rows, "
            f"at least {LEAST_LABELLED} are needed"
        )
    return ""
