"""How positive rows lie within a bin: the curve and the parts, against independent computations."""

import numpy as np
import pytest
from scipy import integrate

from nightscore.monitoring.performance.estimates.within_bins import (
    PARTS,
    Curve,
    _scores_of_parts,
    shares_of_parts,
)
from nightscore.profiles.bins import Floats

LOW, HIGH = np.array([0.0, 0.2, 0.5]), np.array([0.2, 0.5, 1.0])
MEANS = np.array([0.05, 0.34, 0.6])
SHARES = np.array([0.1, 0.3, 0.9])
CURVE = Curve(0.2, 1.3)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (-2.0, 0.2), (1.0, 2.5)])
def test_the_curve_is_the_logistic_regression_of_the_labels(intercept: float, slope: float) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    scores = np.sort(rng.beta(0.5, 1.0, 66))
    odds = np.log(scores / (1 - scores))
    labelled = np.full(66, 300.0)
    shares = rng.binomial(300, 1 / (1 + np.exp(-intercept - slope * odds))) / 300

    design, labels = np.tile(odds, 2)[:, np.newaxis], np.repeat([1, 0], 66)
    weights = np.concatenate([labelled * shares, labelled * (1 - shares)])
    model = LogisticRegression(C=np.inf, tol=1e-9).fit(design, labels, sample_weight=weights)

    found = Curve.of(scores, shares, labelled)
    # One row's worth of belief in a slope of 1 is not in the other's.
    assert found.slope == pytest.approx(model.coef_[0, 0], abs=0.01)
    assert found.intercept == pytest.approx(model.intercept_[0], abs=0.03)


def test_without_labels_of_both_classes_a_score_is_its_own_chance() -> None:
    nothing = Curve.of(np.array([0.2, 0.5]), np.array([0.0, 0.0]), np.array([1.0, 1.0]))
    assert np.isfinite(nothing).all()
    assert nothing.slope == pytest.approx(1.0, abs=0.5)


def test_scores_within_a_bin_are_exponential_with_the_mean_of_the_bin() -> None:
    found = _scores_of_parts(MEANS, LOW, HIGH - LOW)
    assert (np.diff(found, axis=1) > 0).all()
    assert ((found > LOW[:, np.newaxis]) & (found < HIGH[:, np.newaxis])).all()
    assert found.mean(1) == pytest.approx(MEANS, rel=0.03), "middles of eight parts"

    # The density exp(k s) between 0 and 0.2 that has this mean, and its quantiles.
    scores = np.linspace(LOW[0], HIGH[0], 20_001)
    density = np.exp(-17.6 * scores)
    mass = integrate.cumulative_trapezoid(density, scores, initial=0)
    mean = integrate.trapezoid(scores * density, scores) / mass[-1]
    quantiles = np.interp((np.arange(PARTS) + 0.5) / PARTS, mass / mass[-1], scores)
    assert _scores_of_parts(np.array([mean]), LOW[:1], HIGH[:1])[0] == pytest.approx(
        quantiles, rel=1e-3
    )


def test_a_day_like_the_baseline_has_its_shares() -> None:
    found = shares_of_parts(SHARES, MEANS, MEANS, (LOW, HIGH), CURVE)
    assert found.shape == (3, PARTS)
    assert found.mean(1) == pytest.approx(SHARES, abs=1e-9)
    assert (np.diff(found, axis=1) > 0).all()


def test_rows_that_lie_higher_in_a_bin_are_more_often_positive() -> None:
    days = np.stack([MEANS, MEANS + 0.03])
    first, higher = shares_of_parts(SHARES, MEANS, days, (LOW, HIGH), CURVE).mean(-1)
    assert (higher > first).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_bin_of_one_class_stays_of_one_class(share: float) -> None:
    shares = np.array([0.1, share, 0.9])
    found: Floats = shares_of_parts(shares, MEANS, MEANS + 0.01, (LOW, HIGH), CURVE)
    assert (found[1] == share).all()


def test_a_bin_of_a_single_value_has_no_order() -> None:
    value, next_one = np.array([0.3]), np.nextafter([0.3], 1)
    found = shares_of_parts(np.array([0.4]), value, value, (value, next_one), CURVE)
    assert found == pytest.approx(np.full((1, PARTS), 0.4), abs=1e-9)
