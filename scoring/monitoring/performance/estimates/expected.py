"""Expected metrics of binary predictions, from the rows and the label shares of bins of the score.

Each metric is a function of the numbers of positive rows, k_b, in bins of q_b rows. Its estimate is
the function at k_b = q_b p_b, where p_b is the baseline's share of positive rows among m_b labelled
ones. Its variance is, by the delta method with the gradient g_b = d metric / d k_b, that of the
labels to come and that of the baseline's:

    sum over b of g_b^2 v_b (q_b + q_b^2 / m_b),    v_b: variance of one row's label

Source: NannyML, "Confidence-based performance estimation" (documentation, 2022), for the estimates;
its bands have only the first of both terms. G. Casella, R. Berger, "Statistical Inference" (2002),
5.5.4, for the delta method.

All arrays end with the axis of the bins, in ascending order of the score. Axes before it are cases.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.estimates.within_bins import PARTS
from nightscore.monitoring.performance.metrics.intervals import Z_95
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import DecisionValues

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Where scikit-learn's log loss clips probabilities of float64."""
LEAST_SHARE = 1e-12
"""Nearer to 0 and 1 there are no log odds."""
SKEWED = "average_precision"
"""Its band is symmetric on the log odds."""
MOST_LOG_ODDS = 700.0
"""Their exponential is a number that can be stored."""


class Bins(NamedTuple):
    """What is known of the rows in each bin."""

    rows: Floats
    scores: Floats
    """Mean scores."""
    shares: Floats
    """Expected shares of positive rows."""
    variances: Floats
    """Variances of one row's label."""
    labelled: Floats
    """Labelled rows of the baseline, from which the shares are."""
    predicted_positive: Floats
    """Shares of the rows whose score is above the threshold."""
    parts: Floats | None = None
    """Expected shares of positive rows in equal parts of each bin, in ascending order of the score,
    with an axis for them at the end. None: they are the bin's."""


class _Open(NamedTuple):
    """Variances of the numbers of positive rows in each bin."""

    of_labels: Floats
    """Of the labels to come."""
    of_baseline: Floats
    """Of the baseline's labels."""


class Estimate(NamedTuple):
    """A metric and its standard error, without the axis of the bins. NaN where it is undefined."""

    value: Floats
    error: Floats


class _Metric(NamedTuple):
    """A metric and how it changes with the positive rows of each bin."""

    value: Floats
    """With an axis of length 1 in place of the bins."""
    gradient: Floats
    """By positive rows of a bin."""


class _Rows(NamedTuple):
    """Expected numbers of rows: of each bin, and with an axis of length 1 in place of the bins."""

    positive: Floats
    negative: Floats
    n: Floats
    n_positive: Floats
    n_negative: Floats

    @classmethod
    def of(cls, rows: Floats, shares: Floats) -> "_Rows":
        """In these bins."""
        positive, negative = rows * shares, rows * (1 - shares)
        return cls(positive, negative, _sum(rows), _sum(positive), _sum(negative))


def expected_metrics(bins: Bins, values: DecisionValues | None = None) -> dict[str, Estimate]:
    """The metrics by name, in the order in which people see them."""
    return _estimates(bins, values, has_outcomes=False)


def expected_outcomes(bins: Bins) -> dict[str, Estimate]:
    """The confusion: expected numbers of rows of each outcome."""
    rows = _Rows.of(bins.rows, bins.shares)
    return _with_errors(_outcomes(bins, rows), _open_labels(bins))


def expected_metrics_and_outcomes(
    bins: Bins, values: DecisionValues | None = None
) -> dict[str, Estimate]:
    """Both, with less work than one after the other."""
    return _estimates(bins, values, has_outcomes=True)


def _estimates(
    bins: Bins, values: DecisionValues | None, *, has_outcomes: bool
) -> dict[str, Estimate]:
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = _Rows.of(bins.rows, bins.shares)
        metrics = {
            "roc_auc": _roc_auc(rows),
            "log_loss": _log_loss(bins, rows),
            "brier": _brier(bins, rows),
        }
        metrics |= _decision_metrics(bins, rows)

        if values is not None:
            metrics["value"] = _value(bins, rows, values)
        if has_outcomes:
            metrics |= _outcomes(bins, rows)

        variances = _open_labels(bins)
        estimates = _with_errors(metrics, variances)
        ranked = {SKEWED: _average_precision(bins, rows, variances)}

    return {"roc_auc": estimates.pop("roc_auc")} | ranked | estimates


def _outcomes(bins: Bins, rows: _Rows) -> dict[str, _Metric]:
    above, below = bins.predicted_positive, 1 - bins.predicted_positive
    return {
        "tp": _Metric(_sum(rows.positive * above), above),
        "fp": _Metric(_sum(rows.negative * above), -above),
        "fn": _Metric(_sum(rows.positive * below), below),
        "tn": _Metric(_sum(rows.negative * below), -below),
    }


def _open_labels(bins: Bins) -> _Open:
    """The variance of the positive rows of each bin.

    A bin without rows has no part in it, whatever a gradient is there.
    """
    has_rows = bins.rows > 0
    of_labels = np.where(has_rows, bins.variances * bins.rows, 0.0)
    of_baseline = of_labels * bins.rows / np.maximum(bins.labelled, 1)
    return _Open(of_labels, of_baseline)


def _with_errors(metrics: dict[str, _Metric], variances: _Open) -> dict[str, Estimate]:
    """The metrics with their standard errors, all in one pass over the bins."""
    shape = np.broadcast_shapes(*(metric.gradient.shape for metric in metrics.values()))
    gradients = np.empty((len(metrics), *shape))
    for place, metric in enumerate(metrics.values()):
        gradients[place] = metric.gradient

    # A metric may be undefined by a gradient of a bin without rows.
    total = variances.of_labels + variances.of_baseline
    parts = np.square(gradients, out=gradients)
    parts *= total
    parts[:, total == 0] = 0.0
    errors = np.sqrt(np.add.reduce(parts, -1))

    return {
        name: Estimate(metric.value[..., 0], error)
        for (name, metric), error in zip(metrics.items(), errors, strict=True)
    }


def _sum(values: Floats) -> Floats:
    total: Floats = np.add.reduce(values, -1, keepdims=True)
    return total


def _before(values: Floats) -> Floats:
    """The sum over the bins of lower scores."""
    below: Floats = np.cumsum(values, -1) - values
    return below


def _after(values: Floats) -> Floats:
    """The sum over the bins of higher scores."""
    return _before(values[..., ::-1])[..., ::-1]


def _mean_of(bins: Bins, rows: _Rows, if_positive: Floats, if_negative: Floats) -> _Metric:
    """The mean over the rows of what a positive and a negative row of each bin count."""
    means = bins.shares * if_positive + (1 - bins.shares) * if_negative
    value = _sum(bins.rows * means) / rows.n
    return _Metric(value, (if_positive - if_negative) / rows.n)


def _log_loss(bins: Bins, rows: _Rows) -> _Metric:
    scores = np.minimum(np.maximum(bins.scores, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    return _mean_of(bins, rows, -np.log(scores), -np.log1p(-scores))


def _brier(bins: Bins, rows: _Rows) -> _Metric:
    return _mean_of(bins, rows, (1 - bins.scores) ** 2, bins.scores**2)


def _value(bins: Bins, rows: _Rows, values: DecisionValues) -> _Metric:
    above = bins.predicted_positive
    if_positive = values.tp * above + values.fn * (1 - above)
    if_negative = values.fp * above + values.tn * (1 - above)
    return _mean_of(bins, rows, if_positive, if_negative)


def _roc_auc(rows: _Rows) -> _Metric:
    return _Metric(*_auc_of(rows))


def roc_auc_and_gradient(rows: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """The share of pairs in which the positive row has the higher score; ties count half.

    Rows of one bin are tied.

    Args:
        rows: Of each bin.
        shares: Expected shares of positive rows.

    Returns:
        The value, with an axis of length 1 in place of the bins, and its gradient by positive rows.
    """
    return _auc_of(_Rows.of(rows, shares))


def _auc_of(rows: _Rows) -> tuple[Floats, Floats]:
    n_pairs = rows.n_positive * rows.n_negative

    lower = _before(rows.negative) + rows.negative / 2
    higher = _after(rows.positive) + rows.positive / 2

    value = _sum(rows.positive * lower) / n_pairs
    gradient = (lower - higher - value * (rows.n_negative - rows.n_positive)) / n_pairs

    return value, gradient


def _decision_metrics(bins: Bins, rows: _Rows) -> dict[str, _Metric]:
    above = bins.predicted_positive

    n_positive, n_predicted = rows.n_positive, _sum(bins.rows * above)
    n_hits = _sum(rows.positive * above)

    precision = n_hits / n_predicted
    recall = n_hits / n_positive
    f1 = 2 * n_hits / (n_predicted + n_positive)

    return {
        "accuracy": _mean_of(bins, rows, above, 1 - above),
        "precision": _Metric(precision, above / n_predicted),
        "recall": _Metric(recall, (above - recall) / n_positive),
        "f1": _Metric(f1, (2 * above - f1) / (n_predicted + n_positive)),
    }


def _average_precision(bins: Bins, rows: _Rows, variances: _Open) -> Estimate:
    """The mean over positive rows of the precision among the rows down to theirs.

    It falls steeply with the rank, so a positive row is followed in one of the parts of its bin.
    Rows of a part are in random order. Where those above have K positive of Q rows and the part has
    q rows with the share p, the precision at the place r of the part is, on average,
    (K + 1 + p (r - 1)) / (Q + r), and the mean of 1 / (Q + r) over the places is close to
    ln((Q + q + 1/2) / (Q + 1/2)) / q.

    The band is widened by half of the greatest share of the positives that one bin holds: the order
    within that bin, which its counts do not tell, then decides (see DESIGN.md).
    """
    by_part = bins.parts
    if by_part is None:
        by_part = np.repeat(bins.shares[..., np.newaxis], PARTS, -1)

    shares = by_part.reshape(*bins.shares.shape[:-1], -1)
    in_part = np.repeat(bins.rows / PARTS, PARTS, -1)
    positive = in_part * shares
    n_positive = _sum(positive)
    rows_above, positive_above = _after(in_part), _after(positive)

    logarithm = np.log((rows_above + in_part + 0.5) / (rows_above + 0.5))
    inverse_rank = np.where(in_part > 0, logarithm / in_part, 1 / (rows_above + 0.5))

    below_first = 1 - (rows_above + 1) * inverse_rank
    precision = (positive_above + 1) * inverse_rank + shares * below_first
    value = _sum(positive * precision) / n_positive

    own = np.where(in_part > 0, shares * below_first, 0.0)
    gradient = (precision + own + _before(positive * inverse_rank) - value) / n_positive

    # Positive rows of a bin are spread over its parts by their shares.
    by_bin = gradient.reshape(*bins.rows.shape, PARTS)
    weights = np.where(by_part > 0, by_part, 1e-300)
    mean = (by_bin * weights).sum(-1) / weights.sum(-1)

    # The labels of a bin's rows are open each by itself; the baseline's share is one for all.
    of_labels = (by_bin**2).mean(-1) * variances.of_labels
    variance = np.where(variances.of_labels > 0, of_labels + mean**2 * variances.of_baseline, 0.0)
    error = np.sqrt(variance.sum(-1))

    return Estimate(value[..., 0], error * (1 + _greatest_share(rows.positive) / 2))


def band_ends(name: str, estimate: Estimate) -> tuple[Floats, Floats]:
    """Both ends of the 95 % band of each value, which may be beyond what the metric can be.

    That of the average precision is symmetric on the log odds: where few rows are positive it is
    small and skewed, and comes true above a symmetric band far more often than below it.
    """
    value, margin = estimate.value, Z_95 * estimate.error
    if name != SKEWED:
        return value - margin, value + margin

    inside = np.clip(value, LEAST_SHARE, 1 - LEAST_SHARE)
    center = np.log(inside / (1 - inside))
    of_log_odds = np.minimum(margin / (inside * (1 - inside)), MOST_LOG_ODDS)

    low, high = 1 / (1 + np.exp(of_log_odds - center)), 1 / (1 + np.exp(-of_log_odds - center))
    return np.minimum(low, value), np.maximum(high, value)


def all_band_ends(estimates: Mapping[str, Estimate]) -> tuple[Floats, Floats, Floats]:
    """The values of several metrics, and both ends of each band, with an axis of metrics first."""
    values = np.stack([estimate.value for estimate in estimates.values()])
    margins = Z_95 * np.stack([estimate.error for estimate in estimates.values()])
    lows, highs = values - margins, values + margins

    for place, (name, estimate) in enumerate(estimates.items()):
        if name == SKEWED:
            lows[place], highs[place] = band_ends(name, estimate)

    return values, lows, highs


def greatest_share(bins: Bins) -> Floats:
    """The greatest share of the expected positive rows that one bin holds."""
    return _greatest_share(bins.rows * bins.shares)


def _greatest_share(positive: Floats) -> Floats:
    share: Floats = positive.max(-1) / positive.sum(-1)
    return share
