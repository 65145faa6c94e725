"""Variances by a second derivation, and that intervals cover: 93 to 97 % of simulated data sets."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from nightscore.monitoring.performance.metrics import intervals, ranking
from nightscore.monitoring.performance.metrics.classes import class_metrics
from nightscore.monitoring.performance.metrics.decisions import (
    confusion,
    decision_metrics,
    value_of_outcomes,
)
from nightscore.monitoring.performance.metrics.probability import brier, log_loss
from nightscore.monitoring.performance.metrics.ranked_scores import RankedScores, rank_scores
from nightscore.monitoring.performance.metrics.recalibration import calibration_metrics
from nightscore.monitoring.performance.metrics.regression import regression_metrics
from nightscore.monitoring.performance.metrics.top_rows import top_metrics
from nightscore.profiles.bins import Floats
from nightscore.schemas.decision import DecisionValues
from nightscore.schemas.performance import MetricRecord

N_DATA_SETS = 1_000
VALUES = DecisionValues(tp=10, fp=-1, fn=-5)


def test_wilson() -> None:
    """R. Newcombe, "Two-sided Confidence Intervals for the Single Proportion" (1998), table I."""
    assert intervals.wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert intervals.wilson_interval(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize("digits", [1, 17])
def test_delong_by_all_pairs(digits: int) -> None:
    rng = np.random.default_rng(4)
    score = rng.random(300).round(digits)
    label = rng.random(300) < score
    positive, negative = score[label], score[~label]

    pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = pairs.mean(axis=1).var(ddof=1) / len(positive)
    variance += pairs.mean(axis=0).var(ddof=1) / len(negative)

    record = ranking.roc_auc(rank_scores(score, label))
    assert (record.low, record.high) == pytest.approx(
        intervals.logit_interval(pairs.mean(), intervals.margin_of(variance)), rel=1e-12
    )


@pytest.mark.parametrize(("digits", "tolerance"), [(1, 1e-2), (17, 1e-3)])
def test_the_influence_on_the_average_precision_is_its_derivative(
    digits: int, tolerance: float
) -> None:
    """Of rows of one score, degrees of freedom are known roughly."""
    rng = np.random.default_rng(5)
    n_rows, step = 60, 1e-6
    score = rng.random(n_rows).round(digits)
    label = rng.random(n_rows) < score
    weights = rng.uniform(0.9, 1.1, n_rows)

    def value(changed: Floats) -> float:
        return ranking.average_precision(rank_scores(score, label, changed)).value or 0.0

    influences = np.empty(n_rows)
    for row in range(n_rows):
        more, less = weights.copy(), weights.copy()
        more[row] += step
        less[row] -= step
        influences[row] = weights[row] * (value(more) - value(less)) / (2 * step)

    n_positives = int(label.sum())
    variance = float(influences @ influences) * n_positives / (n_positives - 1)
    fourths = float((influences**4).sum())
    freedom = intervals.freedom_of(float(influences @ influences), fourths, n_rows)
    _, _, margin = ranking._average_precision(rank_scores(score, label, weights))
    assert margin == pytest.approx(intervals.margin_of(variance, freedom), rel=tolerance)


@pytest.mark.parametrize("freedom", [4, 5, 12, 300])
def test_quantiles_of_student(freedom: int) -> None:
    expected = stats.t.ppf(0.975, freedom)
    assert intervals.student_quantile(freedom) == pytest.approx(expected, rel=3e-3)


def check_coverage(truth: dict[str, float], data_sets: list[list[MetricRecord]]) -> None:
    """Of each metric that has a truth."""
    n_intervals: Counter[str] = Counter()
    n_covered: Counter[str] = Counter()

    for records in data_sets:
        for record in records:
            if record.name in truth and record.low is not None and record.high is not None:
                n_intervals[record.name] += 1
                n_covered[record.name] += record.low <= truth[record.name] <= record.high

    shares = {name: n_covered[name] / n_intervals[name] for name in truth}
    assert {name: n for name, n in n_intervals.items() if n < 0.9 * len(data_sets)} == {}
    assert {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97} == {}


def population(slope: float, intercept: float) -> tuple[Floats, Floats]:
    """Scores, and the probability of being positive, where scores are no calibrated ones."""
    score = np.random.default_rng(6).beta(2, 3, 5_000)
    log_odds = np.log(score / (1 - score))
    return score, 1 / (1 + np.exp(-intercept - slope * log_odds))


def values_of(records: list[MetricRecord]) -> dict[str, float]:
    return {record.name: record.value for record in records if record.value is not None}


def main_metrics(ranked: RankedScores) -> list[MetricRecord]:
    outcomes = confusion(ranked, 0.4)
    losses = [log_loss(ranked), brier(ranked), value_of_outcomes(outcomes, VALUES)]
    return [ranking.roc_auc(ranked), *losses, *decision_metrics(outcomes)]


def all_metrics(ranked: RankedScores) -> list[MetricRecord]:
    more = [*calibration_metrics(ranked), *top_metrics(ranked, [0.1])]
    return [*main_metrics(ranked), ranking.average_precision(ranked), *more]


@pytest.mark.parametrize(
    ("measure", "n_rows", "slope", "intercept", "is_weighted"),
    [
        (main_metrics, 200, 1.0, 0.0, False),
        (all_metrics, 1_000, 1.5, -1.0, False),
        (main_metrics, 500, 1.0, 0.0, True),
    ],
)
def test_binary_intervals_cover(
    measure: Callable[[RankedScores], list[MetricRecord]],
    n_rows: int,
    slope: float,
    intercept: float,
    is_weighted: bool,
) -> None:
    """With weights, rows of low scores are labelled less often."""
    score, probability = population(slope, intercept)
    both = np.repeat([True, False], len(score))
    shares = np.concatenate([probability, 1 - probability])
    truth = measure(rank_scores(np.tile(score, 2), both, shares))

    rng = np.random.default_rng(7)
    data_sets = []
    for _ in range(N_DATA_SETS):
        rows = rng.integers(0, len(score), n_rows)
        label = rng.random(n_rows) < probability[rows]
        weights = None
        if is_weighted:
            chance = 0.2 + 0.8 * score[rows]
            is_labelled = rng.random(n_rows) < chance
            rows, label, weights = rows[is_labelled], label[is_labelled], 1 / chance[is_labelled]
        data_sets.append(measure(rank_scores(score[rows], label, weights)))

    check_coverage(values_of(truth), data_sets)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_regression_intervals_cover(is_weighted: bool) -> None:
    """Predictions x, labels x + noise of 0.2 + 0.5 x, which is laplacian: few great errors."""
    x = np.random.default_rng(8).beta(2, 3, 5_000)
    spread = 0.2 + 0.5 * x
    square = 2 * np.mean(spread**2)
    mae = float(np.mean(spread))
    truth = {
        "mae": mae,
        "rmse": float(np.sqrt(square)),
        "r2": float(1 - square / (x.var() + square)),
        "bias": 0.0,
        "pinball": mae / 2,
    }

    rng = np.random.default_rng(9)
    data_sets = []
    for _ in range(N_DATA_SETS):
        rows = rng.integers(0, len(x), 1_000)
        label = x[rows] + rng.laplace(scale=spread[rows])
        weights = None
        if is_weighted:
            chance = 0.2 + 0.8 * x[rows]
            is_labelled = rng.random(len(rows)) < chance
            rows, label, weights = rows[is_labelled], label[is_labelled], 1 / chance[is_labelled]
        data_sets.append(regression_metrics(x[rows], label, weights=weights))

    check_coverage(truth, data_sets)


def test_class_intervals_cover() -> None:
    rng = np.random.default_rng(10)
    probabilities = rng.dirichlet([3, 2, 1], size=5_000)
    predicted = probabilities.argmax(axis=1)
    truth = values_of(
        class_metrics(
            np.tile(predicted, 3),
            np.repeat([0, 1, 2], 5_000),
            [*"abc"],
            probabilities=np.tile(probabilities, (3, 1)),
            weights=probabilities.T.ravel(),
        )
    )

    data_sets = []
    for _ in range(N_DATA_SETS):
        rows = rng.integers(0, 5_000, 500)
        label = (rng.random((500, 1)) > probabilities[rows].cumsum(axis=1)[:, :2]).sum(axis=1)
        data_sets.append(
            class_metrics(predicted[rows], label, [*"abc"], probabilities=probabilities[rows])
        )

    check_coverage(truth, data_sets)
