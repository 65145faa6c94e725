"""Days and baselines whose true calibration is known, many at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.estimates.calibration import label_variances
from nightscore.monitoring.performance.estimates.expected import Bins
from nightscore.monitoring.performance.estimates.within_bins import Curve, shares_of_parts
from nightscore.profiles.bins import FINE_BINS, Floats


class Shape(NamedTuple):
    """How scores are distributed, and which share of a score's rows is positive."""

    alpha: float
    beta: float
    true_share: Callable[[Floats], Floats]


def distorted(scores: Floats) -> Floats:
    """A model that is too cautious: log odds are larger than it says, and shifted."""
    odds = np.exp(0.2) * (scores / (1 - scores)) ** 1.3
    return odds / (1 + odds)


SHAPES = {
    "distorted": Shape(1.2, 4.0, distorted),
    "calibrated": Shape(2.0, 3.0, lambda scores: scores),
    "auc of .95": Shape(0.25, 0.4, lambda scores: scores),
    "2 % positive": Shape(0.4, 19.6, lambda scores: scores),
}


class Days(NamedTuple):
    """Rows of days, and their bins with a baseline of each day's own. First axis: days."""

    scores: Floats
    labels: Floats
    bins: Bins
    edges: Floats


def make_days(
    shape: Shape, n_days: int, n_labelled: int, n_rows: int, *, threshold: float = 0.5, seed: int
) -> Days:
    """Days that have the distribution of their baselines. The threshold is an edge."""
    rng = np.random.default_rng(seed)

    def draw(n: int) -> tuple[Floats, Floats]:
        scores = np.clip(rng.beta(shape.alpha, shape.beta, (n_days, n)), 1e-9, 1 - 1e-9)
        return scores, (rng.random((n_days, n)) < shape.true_share(scores)).astype(np.float64)

    known, outcomes = draw(n_labelled)
    scores, labels = draw(n_rows)
    quantiles = np.arange(1, FINE_BINS) / FINE_BINS
    cut = np.quantile(known, quantiles, axis=1).T
    edges = np.sort(np.column_stack([cut, np.full(n_days, threshold)]), axis=1)

    labelled, positives, known_sums = _by_bin(known, outcomes, edges)
    rows, _, sums = _by_bin(scores, labels, edges)
    raw = positives / np.maximum(labelled, 1)
    means = known_sums / np.maximum(labelled, 1)
    upper = np.column_stack([edges, np.full(n_days, np.inf)])
    day_means = np.where(rows > 0, sums / np.maximum(rows, 1), means)
    parts = _parts(raw, labelled, means, day_means, edges)
    bins = Bins(
        rows=rows,
        scores=day_means,
        shares=parts.mean(-1),
        variances=label_variances(labelled, raw),
        labelled=labelled,
        predicted_positive=(upper > threshold).astype(np.float64),
        parts=parts,
    )

    return Days(scores, labels, bins, edges)


def _parts(
    raw: Floats, labelled: Floats, means: Floats, day_means: Floats, edges: Floats
) -> Floats:
    """Shares of positive rows in the parts of each day's bins, as an estimate has them."""
    n_days = len(edges)
    curves = [Curve.of(*own) for own in zip(means, raw, labelled, strict=True)]
    curve = np.array(curves)[:, :, np.newaxis, np.newaxis]
    ends = np.column_stack([np.zeros(n_days), edges]), np.column_stack([edges, np.ones(n_days)])
    return shares_of_parts(raw, means, day_means, ends, Curve(curve[:, 0], curve[:, 1]))


def _by_bin(scores: Floats, labels: Floats, edges: Floats) -> tuple[Floats, Floats, Floats]:
    """Rows, sums of labels and sums of scores of each day's bins."""
    n_days, n_bins = len(edges), edges.shape[1] + 1
    places = [np.searchsorted(own, values) for own, values in zip(edges, scores, strict=True)]
    flat = (np.stack(places) + n_bins * np.arange(n_days)[:, np.newaxis]).ravel()

    def count(weights: Floats | None) -> Floats:
        counted = np.bincount(flat, weights, minlength=n_days * n_bins)
        return counted.reshape(n_days, n_bins).astype(np.float64)

    return count(None), count(labels.ravel()), count(scores.ravel())


def realised(days: Days, threshold: float = 0.5) -> dict[str, Floats]:
    """What came true, one value a day, from the rows."""
    scores, labels = days.scores, days.labels
    n_rows = scores.shape[1]
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(labels, order, 1)
    n_positive = labels.sum(1)
    n_negative = n_rows - n_positive

    hits = np.cumsum(ranked, 1)
    places = np.arange(1, n_rows + 1)
    misses_above = places - hits
    above = scores > threshold
    true_positive = (labels * above).sum(1)
    n_predicted = above.sum(1)

    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "roc_auc": 1 - (ranked * misses_above).sum(1) / (n_positive * n_negative),
            "average_precision": (ranked * hits / places).sum(1) / n_positive,
            "log_loss": -np.log(np.where(labels > 0, scores, 1 - scores)).mean(1),
            "brier": ((labels - scores) ** 2).mean(1),
            "accuracy": (labels == above).mean(1),
            "precision": true_positive / n_predicted,
            "recall": true_positive / n_positive,
            "f1": 2 * true_positive / (n_predicted + n_positive),
        }
