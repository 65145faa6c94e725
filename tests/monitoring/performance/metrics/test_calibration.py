"""Calibration: slope, intercept and curve."""

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve as sklearn_curve
from sklearn.linear_model import LogisticRegression

from nightscore.monitoring.performance.metrics import recalibration
from nightscore.monitoring.performance.metrics.binary import binary_performance
from nightscore.monitoring.performance.metrics.calibration_curve import calibration_curve
from nightscore.monitoring.performance.metrics.ranked_scores import rank_scores
from nightscore.monitoring.performance.metrics.recalibration import calibration_metrics
from nightscore.profiles.bins import Floats

RNG = np.random.default_rng(11)
SCORES = RNG.beta(2, 3, 20_000)
LABELS = RNG.random(20_000) < special.expit(0.4 + 0.7 * special.logit(SCORES))
WEIGHTS = RNG.exponential(size=20_000)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_slope_by_sklearn(weights: Floats | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalibration, "START_ROWS", 1_000)
    model = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky")
    model.fit(special.logit(SCORES)[:, None], LABELS, weights)

    slope, intercept = calibration_metrics(rank_scores(SCORES, LABELS, weights))

    assert slope.value == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert intercept.value is not None
    calibrated = special.expit(special.logit(SCORES) + intercept.value)
    assert np.average(calibrated, weights=weights) == pytest.approx(
        np.average(LABELS, weights=weights), rel=1e-9
    )


def test_scores_of_0_and_1_are_said_to_count_as_others() -> None:
    scores = SCORES.copy()
    scores[:2] = 0.0, 1.0
    slope, intercept = calibration_metrics(rank_scores(scores, LABELS))

    assert slope.note == "approximate: scores nearer to 0 or 1 than 0.000001 count as that"
    assert intercept.note == slope.note
    assert slope.low is not None


def test_curve_by_sklearn() -> None:
    bins = calibration_curve(rank_scores(SCORES, LABELS))
    shares, means = sklearn_curve(LABELS, SCORES, n_bins=10, strategy="quantile")

    assert [one.n for one in bins] == [2_000] * 10
    assert [one.share.value for one in bins] == pytest.approx(shares.tolist(), rel=1e-12)
    assert [one.mean_score for one in bins] == pytest.approx(means.tolist(), rel=1e-12)
    assert all(one.share.low < one.share.value < one.share.high for one in bins)  # type: ignore[operator]


def test_curve_with_ties_and_weights() -> None:
    score = np.array([0.1] * 6 + [0.5] * 3 + [0.9])
    label = np.arange(10) % 2 == 0
    weights = np.arange(1.0, 11.0)

    bins = calibration_curve(rank_scores(score, label, weights))

    assert [(one.low, one.high, one.n) for one in bins] == [
        (0.1, 0.1, 6), (0.5, 0.5, 3), (0.9, 0.9, 1),
    ]  # fmt: skip
    assert bins[0].share.value == pytest.approx((1 + 3 + 5) / 21)
    assert bins[1].mean_score == pytest.approx(0.5)


def test_curve_of_few_rows_and_of_none() -> None:
    assert len(calibration_curve(rank_scores(SCORES[:3], LABELS[:3]))) == 3
    assert calibration_curve(rank_scores(SCORES[:0], LABELS[:0])) == []


def test_all_from_one_sort() -> None:
    performance = binary_performance(SCORES, LABELS, threshold=0.5)
    ranked = rank_scores(SCORES, LABELS)

    assert performance.curve == calibration_curve(ranked)
    assert performance.confusion is not None
    assert sum(performance.confusion) == 20_000
    assert performance.confusion.tp == np.count_nonzero(LABELS & (SCORES > 0.5))
    assert performance.metrics[9:11] == calibration_metrics(ranked)

    assert binary_performance(SCORES * 2 - 1, LABELS, threshold=0.5).curve == []
    assert binary_performance(SCORES * np.nan, LABELS, threshold=0.5).confusion is None
