"""Whether one model ranks rows better than another ranks the same rows."""

import math

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    margin_of,
    normal_interval,
)
from nightscore.monitoring.performance.metrics.ranked_scores import Labels
from nightscore.monitoring.performance.metrics.records import (
    ONE_CLASS,
    TOO_FEW_OF_A_CLASS,
    known,
    unknown,
    why_not,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

NAME = "roc_auc_difference"


def roc_auc_difference(
    score: Floats, other: Floats, label: Labels, weights: Floats | None = None
) -> MetricRecord:
    """ROC AUC of the first model minus that of the other, with a 95 % interval, of the same rows.

    The interval is much narrower than the two AUCs' own, since both models meet the same rows: it
    is of the differences of each row's placement. It excludes 0 if the models differ by more than
    chance.

    Source: E. DeLong, D. DeLong, D. Clarke-Pearson, "Comparing the Areas under Two or More
    Correlated Receiver Operating Characteristic Curves" (1988), with placements by sorting: X. Sun,
    W. Xu, "Fast Implementation of DeLong's Algorithm" (2014).

    Args:
        score: Shape (n,), float64: of the first model.
        other: Shape (n,), float64: of the other.
        label: Shape (n,), bool: whether the row is positive.
        weights: Shape (n,), float64, none negative.
    """
    n_rows = len(label)
    why = why_not({"scores": score, "other scores": other}, weights)
    if why:
        return unknown(NAME, n_rows, why)
    if weights is None:
        weights = np.ones(n_rows)

    counts = weights > 0
    n_positives = int(np.count_nonzero(label & counts))
    n_of_classes = (n_positives, int(np.count_nonzero(counts)) - n_positives)
    if not min(n_of_classes):
        return unknown(NAME, n_rows, ONE_CLASS)

    difference = placements(score, label, weights) - placements(other, label, weights)

    value, variance = 0.0, 0.0
    for rows, n_of_class in zip((label, ~label), n_of_classes, strict=True):
        weight, of_class = weights[rows], difference[rows]
        value = float(weight @ of_class) / float(weight.sum())
        squares = float(np.square(weight) @ np.square(of_class - value))
        variance += squares / float(weight.sum()) ** 2 * n_of_class / max(n_of_class - 1, 1)

    if min(n_of_classes) < LEAST_ROWS:
        return known(NAME, value, n_rows, None, TOO_FEW_OF_A_CLASS)
    return known(NAME, value, n_rows, normal_interval(value, margin_of(variance)))


def placements(score: Floats, label: Labels, weights: Floats) -> Floats:
    """The share of the other class that each row is on the right side of, in the rows' order.

    Their weighted mean is the ROC AUC, in each class. Ties count half.

    Args:
        score: Shape (n,), float64, finite.
        label: Shape (n,), bool.
        weights: Shape (n,), float64, of both classes more than 0.
    """
    order = np.argsort(score)
    ordered = score[order]
    firsts = np.flatnonzero(np.diff(ordered, prepend=-math.inf))
    group = np.cumsum(np.diff(ordered, prepend=-math.inf) > 0) - 1

    of_positives = weights * label
    positives = np.add.reduceat(of_positives[order], firsts)
    negatives = np.add.reduceat((weights - of_positives)[order], firsts)

    below = (np.cumsum(negatives) - negatives / 2) / negatives.sum()
    above = 1 - (np.cumsum(positives) - positives / 2) / positives.sum()

    placed = np.empty(len(score))
    placed[order] = np.where(label[order], below[group], above[group])
    return placed
