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


class Estimate(NamedTuple):
    """A metric and its standard error, without the axis of the bins. NaN where it is undefined."""

    value: Floats
    error: Floats


def expected_metrics(bins: Bins, values: DecisionValues | None = None) -> dict[str, Estimate]:
    """The metrics by name, in the order in which people see them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates = {
            "roc_auc": _roc_auc(bins),
            "average_precision": _average_precision(bins),
            "log_loss": _log_loss(bins),
            "brier": _brier(bins),
        }
        estimates |= _decision_metrics(bins)
        if values is not None:
            estimates["value"] = _value(bins, values)
        return estimates


def expected_outcomes(bins: Bins) -> dict[str, Estimate]:
    """The confusion: expected numbers of rows of each outcome."""
    positive, negative = bins.rows * bins.shares, bins.rows * (1 - bins.shares)
    above, below = bins.predicted_positive, 1 - bins.predicted_positive
    return {
        "tp": _estimate(bins, _sum(positive * above), above),
        "fp": _estimate(bins, _sum(negative * above), -above),
        "fn": _estimate(bins, _sum(positive * below), below),
        "tn": _estimate(bins, _sum(negative * below), -below),
    }


def _sum(values: Floats) -> Floats:
    total: Floats = values.sum(-1, keepdims=True)
    return total


def _before(values: Floats) -> Floats:
    """The sum over the bins of lower scores."""
    below: Floats = np.cumsum(values, -1) - values
    return below


def _after(values: Floats) -> Floats:
    """The sum over the bins of higher scores."""
    return _before(values[..., ::-1])[..., ::-1]


def _estimate(
    bins: Bins, value: Floats, gradient: Floats, squared_gradient: Floats | None = None
) -> Estimate:
    """The metric with its standard error.

    Args:
        bins: The bins.
        value: The metric, with an axis of length 1 in place of the bins.
        gradient: By positive rows of a bin.
        squared_gradient: Mean of its square over the rows of a bin, if it differs among them.
    """
    if squared_gradient is None:
        squared_gradient = gradient**2

    of_labels = squared_gradient * bins.rows
    of_baseline = gradient**2 * bins.rows**2 / np.maximum(bins.labelled, 1)

    # A bin without rows has no part in it, whatever its gradient.
    parts = np.where(bins.rows > 0, bins.variances * (of_labels + of_baseline), 0.0)

    return Estimate(value[..., 0], np.sqrt(parts.sum(-1)))


def _mean_of(bins: Bins, if_positive: Floats, if_negative: Floats) -> Estimate:
    """The mean over the rows of what a positive and a negative row of each bin count."""
    n_rows = _sum(bins.rows)
    means = bins.shares * if_positive + (1 - bins.shares) * if_negative
    value = _sum(bins.rows * means) / n_rows
    return _estimate(bins, value, (if_positive - if_negative) / n_rows)


def _log_loss(bins: Bins) -> Estimate:
    scores = np.minimum(np.maximum(bins.scores, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    return _mean_of(bins, -np.log(scores), -np.log1p(-scores))


def _brier(bins: Bins) -> Estimate:
    return _mean_of(bins, (1 - bins.scores) ** 2, bins.scores**2)


def _value(bins: Bins, values: DecisionValues) -> Estimate:
    above = bins.predicted_positive
    if_positive = values.tp * above + values.fn * (1 - above)
    if_negative = values.fp * above + values.tn * (1 - above)
    return _mean_of(bins, if_positive, if_negative)


def _roc_auc(bins: Bins) -> Estimate:
    value, gradient = roc_auc_and_gradient(bins.rows, bins.shares)
    return _estimate(bins, value, gradient)


def roc_auc_and_gradient(rows: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """The share of pairs in which the positive row has the higher score; ties count half.

    Rows of one bin are tied.

    Args:
        rows: Of each bin.
        shares: Expected shares of positive rows.

    Returns:
        The value, with an axis of length 1 in place of the bins, and its gradient by positive rows.
    """
    positive, negative = rows * shares, rows * (1 - shares)
    n_positive, n_negative = _sum(positive), _sum(negative)
    n_pairs = n_positive * n_negative

    lower = _before(negative) + negative / 2
    higher = _after(positive) + positive / 2

    value = _sum(positive * lower) / n_pairs
    gradient = (lower - higher - value * (n_negative - n_positive)) / n_pairs

    return value, gradient


def _decision_metrics(bins: Bins) -> dict[str, Estimate]:
    above = bins.predicted_positive
    positive = bins.rows * bins.shares

    n_positive, n_predicted = _sum(positive), _sum(bins.rows * above)
    n_hits = _sum(positive * above)

    precision = n_hits / n_predicted
    recall = n_hits / n_positive
    f1 = 2 * n_hits / (n_predicted + n_positive)

    return {
        "accuracy": _mean_of(bins, above, 1 - above),
        "precision": _estimate(bins, precision, above / n_predicted),
        "recall": _estimate(bins, recall, (above - recall) / n_positive),
        "f1": _estimate(bins, f1, (2 * above - f1) / (n_predicted + n_positive)),
    }


def _average_precision(bins: Bins) -> Estimate:
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
    rows = np.repeat(bins.rows / PARTS, PARTS, -1)
    positive = rows * shares
    n_positive = _sum(positive)
    rows_above, positive_above = _after(rows), _after(positive)

    logarithm = np.log((rows_above + rows + 0.5) / (rows_above + 0.5))
    inverse_rank = np.where(rows > 0, logarithm / rows, 1 / (rows_above + 0.5))
    precision = shares + (positive_above + 1 - shares * (rows_above + 1)) * inverse_rank
    value = _sum(positive * precision) / n_positive

    own = np.where(rows > 0, shares * (1 - (rows_above + 1) * inverse_rank), 0.0)
    gradient = (precision + own + _before(positive * inverse_rank) - value) / n_positive

    # Positive rows of a bin are spread over its parts by their shares.
    by_bin = gradient.reshape(*bins.rows.shape, PARTS)
    in_part = np.where(by_part > 0, by_part, 1e-300)
    mean = (by_bin * in_part).sum(-1) / in_part.sum(-1)
    estimate = _estimate(bins, value, mean, (by_bin**2).mean(-1))

    return Estimate(estimate.value, estimate.error * (1 + greatest_share(bins) / 2))


def band_ends(name: str, estimate: Estimate) -> tuple[Floats, Floats]:
    """Both ends of the 95 % band of each value, which may be beyond what the metric can be.

    That of the average precision is symmetric on the log odds: where few rows are positive it is
    small and skewed, and comes true above a symmetric band far more often than below it.
    """
    value, margin = estimate.value, Z_95 * estimate.error
    if name != "average_precision":
        return value - margin, value + margin

    inside = np.clip(value, LEAST_SHARE, 1 - LEAST_SHARE)
    center = np.log(inside / (1 - inside))
    of_log_odds = np.minimum(margin / (inside * (1 - inside)), MOST_LOG_ODDS)

    low, high = 1 / (1 + np.exp(of_log_odds - center)), 1 / (1 + np.exp(-of_log_odds - center))
    return np.minimum(low, value), np.maximum(high, value)


def greatest_share(bins: Bins) -> Floats:
    """The greatest share of the expected positive rows that one bin holds."""
    positive = bins.rows * bins.shares
    share: Floats = positive.max(-1) / positive.sum(-1)
    return share
