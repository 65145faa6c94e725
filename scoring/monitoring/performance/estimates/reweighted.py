"""Estimates under covariate shift: the baseline's labels, weighted to be those of the day's rows.

PAPE (probabilistic adaptive performance estimation), also M-CBPE: rows of the baseline are weighted
by the density ratio w(x) = p_day(x) / p_baseline(x). The share of positive rows of each score is
that of the weighted rows, and the estimate is made from it as always. It is right if features and
label relate as they did in the baseline; it does not see concept drift.

Weights are known of a sample of the baseline's rows only, r of them with the share p of all in its
bin. A bin's share is corrected by what the weights change in the sample, in a group of bins:

    p_b + sum w (y - p) / sum w - sum (y - p) / n,    sums over the sample's rows of the group

Without a shift it is the share of all rows, whatever the sample. Its variance is that of the share
and that of the correction, which all bins of a group have in common.

Source: J. Bialek et al., "Estimating Model Performance Under Covariate Shift Without Labels"
(arXiv 2401.08348, 2024), whose calibrator is a gradient boosting model fitted with these weights.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.monitoring.performance.estimates.binary import estimate_metrics, within_range
from nightscore.monitoring.performance.estimates.calibration import Calibration, label_variances
from nightscore.monitoring.performance.estimates.density_ratio import (
    N_FOLDS,
    DensityRatio,
    density_ratio,
    effective_rows,
)
from nightscore.monitoring.performance.estimates.placement import LIKELY, Placement
from nightscore.monitoring.performance.metrics.intervals import Z_95
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import Decision
from nightscore.schemas.performance import MetricRecord

BASELINE_FACTOR = 5
"""Labelled rows of the baseline for each row of a partition's sample: they decide how accurate the
estimate is. With 10,000 for 2,000 the error under shift was about four fifths of that with
4,000."""
MOST_GROUPS = 20
"""Groups of bins that are corrected alike."""
ROWS_OF_GROUP = 50
"""Effective rows that a group has at least."""
LEAST_EFFECTIVE = 200
"""Effective rows of the baseline's sample. With fewer, too few rows are like those of the day."""
LEAST_ROWS = 200
"""Rows of each sample. A classifier tells nothing from fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows with their features."""

    features: pa.Table
    """The model's features."""
    scores: Floats
    """What the model says, shape (n,)."""
    labels: Floats | None = None
    """What came true: 0 or 1, shape (n,). NaN: not known. None: of no row."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.scores)

    def select(self, wanted: npt.NDArray[np.bool_]) -> "Sample":
        """Some of its rows."""
        labels = None if self.labels is None else self.labels[wanted]
        rows = self.features.take(pa.array(np.flatnonzero(wanted)))
        return Sample(features=rows, scores=self.scores[wanted], labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reweighted:
    """An estimate that is adjusted for covariate shift."""

    metrics: list[MetricRecord]
    """As of `estimate_metrics`. Without a shift, they are the same."""
    is_shifted: bool
    """The day's features differ from the baseline's by more than chance."""
    shift_auc: float
    """How well a classifier tells the day's rows from the baseline's. 0.5: not at all."""
    n_effective: float
    """How many rows the weighted sample of the baseline is worth."""


class _Correction(NamedTuple):
    """What the weights change in each bin's share, and its variance. Shape (bins,)."""

    change: Floats
    variance: Floats
    group: npt.NDArray[np.int64]


def estimate_reweighted(
    baseline: Sample,
    day: Sample,
    placement: Placement,
    calibration: Calibration,
    decision: Decision,
    seed: int = 0,
) -> Reweighted:
    """The expected metrics of a partition with 95 % bands, adjusted for covariate shift.

    If a classifier cannot tell the day from the baseline, they are the plain estimate.

    Args:
        baseline: A sample of its labelled rows.
        day: A sample of the partition's rows.
        placement: All scores of the partition, in the baseline's bins.
        calibration: Of all labelled rows of the baseline.
        decision: Threshold and values.
        seed: Divides the rows for cross-fitting. The same gives the same.
    """
    baseline, day = _complete(baseline), _complete(day)

    n_least = min(baseline.n_rows, day.n_rows)
    if n_least < LEAST_ROWS:
        why = f"too few: a sample has {n_least:,} rows, at least {LEAST_ROWS} are needed"
        return _unknown(placement, calibration, decision, why)

    ratio = density_ratio(baseline.features, day.features, baseline.scores, day.scores, seed)
    if ratio.is_shifted and ratio.n_effective < LEAST_EFFECTIVE:
        why = (
            f"too few: {ratio.n_effective:.0f} effective rows of the baseline are like those of "
            f"the partition, at least {LEAST_EFFECTIVE} are needed"
        )
        return _unknown(placement, calibration, decision, why, ratio)

    metrics = estimate_metrics(placement, calibration, decision)

    if ratio.is_shifted:
        adjusted = reweight(calibration, baseline, ratio.weights, placement)
        metrics = estimate_metrics(placement, adjusted, decision)
        of_folds = _of_folds(baseline, ratio, placement, calibration, decision)
        metrics = [_widened(metric, of_folds) for metric in metrics]

    return Reweighted(
        metrics=metrics,
        is_shifted=ratio.is_shifted,
        shift_auc=ratio.auc,
        n_effective=ratio.n_effective,
    )


def _of_folds(
    baseline: Sample,
    ratio: DensityRatio,
    placement: Placement,
    calibration: Calibration,
    decision: Decision,
) -> dict[str, list[float]]:
    """The estimates of each metric by the rows of one fold, whose weights are of one classifier."""
    values: dict[str, list[float]] = {}
    for fold in range(N_FOLDS):
        is_in_fold = ratio.folds == fold
        weights = ratio.weights[is_in_fold]
        of_fold = reweight(
            calibration, baseline.select(is_in_fold), weights / weights.mean(), placement
        )

        for metric in estimate_metrics(placement, of_fold, decision):
            if metric.value is not None:
                values.setdefault(metric.name, []).append(metric.value)

    return values


def _widened(metric: MetricRecord, of_folds: dict[str, list[float]]) -> MetricRecord:
    """The metric with the spread of its folds added to the variance of its band.

    The variance of a mean of k values is their variance divided by k; here of the folds' estimates.
    """
    values = of_folds.get(metric.name, [])
    if len(values) < N_FOLDS or metric.value is None or metric.low is None or metric.high is None:
        return metric

    spread = Z_95 * float(np.std(values, ddof=1)) / N_FOLDS**0.5
    low = metric.value - float(np.hypot(metric.value - metric.low, spread))
    high = metric.value + float(np.hypot(metric.high - metric.value, spread))

    low, high = within_range(metric.name, low, high, metric.n)
    return metric.model_copy(update={"low": low, "high": high})


def reweight(
    calibration: Calibration, sample: Sample, weights: Floats, placement: Placement
) -> Calibration:
    """The calibration with the shares of weighted rows.

    Args:
        calibration: Of all labelled rows of the baseline.
        sample: Of these rows, with labels.
        weights: Of the sample's rows, shape (n,).
        placement: The scores to estimate with it: they decide what a group's variance counts.
    """
    correction = _correct(calibration, sample, weights)
    shares = np.clip(calibration.shares + correction.change, 0.0, 1.0)
    variances = label_variances(calibration.labelled, shares)

    # A group's bins have one correction, so its variance counts once for all their rows.
    rows = placement.rows[LIKELY]
    group = correction.group
    n_groups = int(group.max()) + 1
    totals = np.bincount(group, rows, n_groups)[group]
    squares = np.bincount(group, np.square(rows), n_groups)[group]
    common = correction.variance * np.square(totals) / np.maximum(squares, 1e-300)

    of_share = calibration.variances / np.maximum(calibration.labelled, 1) + common
    is_known = (variances > 0) & (of_share > 0) & (squares > 0)
    labelled = np.where(is_known, variances / np.maximum(of_share, 1e-300), calibration.labelled)

    return replace(calibration, shares=shares, variances=variances, labelled=labelled)


def _correct(calibration: Calibration, sample: Sample, weights: Floats) -> _Correction:
    if sample.labels is None:
        raise ValueError("the sample of the baseline has no labels")

    n_bins = len(calibration.shares)
    places = np.searchsorted(calibration.edges.both, sample.scores, side="left")
    rest = sample.labels - calibration.shares[places]

    of_bins: Floats = np.bincount(places, weights, n_bins).astype(np.float64)
    group = _groups(of_bins, effective_rows(weights))
    groups = group[places]
    n_groups = int(group.max()) + 1

    counts = np.maximum(np.bincount(groups, minlength=n_groups), 1)
    totals = np.maximum(np.bincount(groups, weights, n_groups), 1e-300)
    weighted = np.bincount(groups, weights * rest, n_groups) / totals
    plain = np.bincount(groups, rest, n_groups) / counts

    # What one row changes: weighted and plain mean have the same rows, and much of their error.
    by_weight = weights / totals[groups] * (rest - weighted[groups])
    by_count = (rest - plain[groups]) / counts[groups]
    squares = np.square(by_weight - by_count)
    variance: Floats = np.bincount(groups, squares, n_groups).astype(np.float64)

    return _Correction((weighted - plain)[group], variance[group], group)


def _groups(weights: Floats, n_effective: float) -> npt.NDArray[np.int64]:
    """The group of each bin: neighbours with about the same weight in all."""
    n_groups = int(np.clip(n_effective / ROWS_OF_GROUP, 1, MOST_GROUPS))
    middles = np.cumsum(weights) - weights / 2
    groups = np.minimum(middles / weights.sum() * n_groups, n_groups - 1).astype(np.int64)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _complete(sample: Sample) -> Sample:
    """The rows with a score and, if it has labels, with a label."""
    is_complete = np.isfinite(sample.scores)
    if sample.labels is not None:
        is_complete &= np.isfinite(sample.labels)
    return sample if is_complete.all() else sample.select(is_complete)


def _unknown(
    placement: Placement,
    calibration: Calibration,
    decision: Decision,
    why: str,
    ratio: DensityRatio | None = None,
) -> Reweighted:
    """The same metrics, not estimated."""
    plain = estimate_metrics(placement, calibration, decision)
    metrics = [MetricRecord(name=metric.name, n=metric.n, note=why) for metric in plain]

    if ratio is None:
        return Reweighted(metrics=metrics, is_shifted=False, shift_auc=0.5, n_effective=0.0)

    return Reweighted(
        metrics=metrics,
        is_shifted=ratio.is_shifted,
        shift_auc=ratio.auc,
        n_effective=ratio.n_effective,
    )
