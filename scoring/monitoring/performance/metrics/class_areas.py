"""ROC AUC of each class against the rest, and their mean."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nightscore.monitoring.performance.metrics.intervals import (
    LEAST_ROWS,
    Interval,
    logit_interval,
    margin_of,
    wilson_interval,
)
from nightscore.monitoring.performance.metrics.ranked_scores import Codes, Labels
from nightscore.monitoring.performance.metrics.records import (
    ONE_CLASS,
    TOO_FEW_OF_A_CLASS,
    known,
    unknown,
    why_not,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord


class _Area(NamedTuple):
    """The ROC AUC of one class against the rest."""

    value: float
    variance: float
    influences: Floats
    """What each row adds to the error, shape (n,)."""
    n_of_rarer_class: int


def areas_of_classes(
    probabilities: Floats, label: Codes, classes: Sequence[str], weights: Floats | None
) -> list[MetricRecord]:
    """`roc_auc_macro`, the mean over the classes, then `roc_auc[CLASS]` of each.

    It is that of scikit-learn's `roc_auc_score` with `multi_class="ovr"`, where all classes have
    labels. A class without a label, or with all of them, is left out of the mean; a note says so.

    The variance of the mean is that of the sum of a row's influences on the classes' AUCs, which
    are not independent.

    Source: E. DeLong, D. DeLong, D. Clarke-Pearson, "Comparing the Areas under Two or More
    Correlated Receiver Operating Characteristic Curves" (1988).

    Args:
        probabilities: Shape (n, k).
        label: Shape (n,): positions in `classes`.
        classes: Names of all k classes.
        weights: Shape (n,). None: each row counts once.
    """
    n_rows = len(label)
    names = [f"roc_auc[{of_class}]" for of_class in classes]
    why = why_not({"probabilities": probabilities}, weights)
    if why:
        return [unknown(name, n_rows, why) for name in ["roc_auc_macro", *names]]

    influences = np.zeros(n_rows)
    values, rarer = [], []
    records = []

    for place, name in enumerate(names):
        area = _area(probabilities[:, place], label == place, weights)
        if area is None:
            records.append(unknown(name, n_rows, ONE_CLASS))
            continue

        influences += area.influences
        values.append(area.value)
        rarer.append(area.n_of_rarer_class)
        records.append(_record(name, area.value, area.variance, n_rows, area.n_of_rarer_class))

    return [_mean(values, influences, min(rarer, default=0), len(classes)), *records]


def _mean(
    values: Sequence[float], influences: Floats, n_of_rarest: int, n_classes: int
) -> MetricRecord:
    n_rows = len(influences)
    if not values:
        return unknown("roc_auc_macro", n_rows, ONE_CLASS)

    variance = float(influences @ influences) / len(values) ** 2 * n_rows / (n_rows - 1)
    value = float(np.mean(values))

    record = _record("roc_auc_macro", value, variance, n_rows, n_of_rarest)
    if len(values) == n_classes:
        return record

    n_missing = n_classes - len(values)
    note = f"{n_missing} of {n_classes} classes have no label, and are left out"
    return record.model_copy(update={"note": "; ".join(filter(None, (note, record.note)))})


def _record(
    name: str, value: float, variance: float, n_rows: int, n_of_rarer_class: int
) -> MetricRecord:
    if n_of_rarer_class < LEAST_ROWS:
        return known(name, value, n_rows, None, TOO_FEW_OF_A_CLASS)
    return known(name, value, n_rows, _interval(value, variance, n_of_rarer_class))


def _interval(value: float, variance: float, n_of_rarer_class: int) -> Interval:
    if not 0 < value < 1:
        return wilson_interval(min(1.0, value), n_of_rarer_class)
    return logit_interval(value, margin_of(variance))


def _area(scores: Floats, is_positive: Labels, weights: Floats | None) -> _Area | None:
    """None: all rows are of the class, or none is. Weighted rows of weight 0 do not count."""
    if weights is None:
        weights = np.ones(len(scores))

    is_counted = weights > 0
    n_positives = int(np.count_nonzero(is_positive & is_counted))
    n_negatives = int(np.count_nonzero(is_counted)) - n_positives
    if not n_positives or not n_negatives:
        return None

    order = np.argsort(scores)
    ordered = scores[order]
    first = np.searchsorted(ordered, ordered, "left")
    after = np.searchsorted(ordered, ordered, "right")

    def share_below(of_rows: Labels) -> Floats:
        """Of the weight of some rows; ties count half."""
        sums = np.append(0.0, np.cumsum((weights * of_rows)[order]))
        below: Floats = (sums[first] + sums[after]) / (2 * sums[-1])
        return below

    is_above = is_positive[order]

    on_right_side = np.where(is_above, share_below(~is_positive), 1 - share_below(is_positive))
    positives, negatives = float(weights[is_positive].sum()), float(weights[~is_positive].sum())
    value = float((weights[order] * on_right_side)[is_above].sum()) / positives

    size = np.where(is_above, positives, negatives)
    of_ordered = weights[order] * (on_right_side - value) / size
    influences = np.empty(len(scores))
    influences[order] = of_ordered

    squares = np.square(influences)
    variance = float(squares[is_positive].sum()) * n_positives / max(n_positives - 1, 1)
    variance += float(squares[~is_positive].sum()) * n_negatives / max(n_negatives - 1, 1)
    return _Area(value, variance, influences, min(n_positives, n_negatives))
