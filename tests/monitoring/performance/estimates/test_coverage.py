"""The bands cover what they say: 1,000 simulated days, each with a baseline of its own."""

import numpy as np
import pytest

from nightscore.monitoring.performance.estimates.binary import (
    LEAST_LABELLED,
    OF_DECISIONS,
)
from nightscore.monitoring.performance.estimates.expected import band_ends, expected_metrics
from nightscore.monitoring.performance.estimates.expected_errors import expected_errors
from nightscore.monitoring.performance.estimates.regression import ESTIMATED_ERRORS, bands
from nightscore.monitoring.performance.metrics.intervals import Z_95
from tests.monitoring.performance.estimates.made_days import SHAPES, make_days, realised
from tests.monitoring.performance.estimates.made_errors import make_error_days

N_DAYS = 1_000
COVERED = (0.93, 0.97)
OF_ANY_DAY = ("roc_auc", "log_loss", "brier", "accuracy")


def covered(
    shape: str, n_labelled: int, n_rows: int, seed: int, threshold: float = 0.5
) -> dict[str, float]:
    """The share of the days whose realised metric is in the band; days without one left out."""
    days = make_days(SHAPES[shape], N_DAYS, n_labelled, n_rows, threshold=threshold, seed=seed)
    came_true = realised(days, threshold)

    shares = {}
    for name, estimate in expected_metrics(days.bins).items():
        truth = came_true[name]
        is_known = np.isfinite(truth)
        low, high = band_ends(name, estimate)
        is_in = (low <= truth) & (truth <= high)
        shares[name] = float(is_in[is_known].mean())
    return shares


@pytest.mark.parametrize(
    ("shape", "n_labelled", "n_rows"),
    [
        ("distorted", 1_000, 200),
        ("calibrated", 5_000, 200),
        ("auc of .95", 2_000, 200),
        ("distorted", 2_000, 1_000),
        ("auc of .95", 2_000, 1_000),
    ],
)
def test_a_band_covers_what_comes_true(shape: str, n_labelled: int, n_rows: int) -> None:
    shares = covered(shape, n_labelled, n_rows, seed=n_labelled)
    # The order within a bin is not known: the band of the average precision leans to caution.
    most = {"average_precision": 0.98}
    names = OF_ANY_DAY if n_rows < 1_000 else (*OF_ANY_DAY, *OF_DECISIONS)
    for name in names:
        assert COVERED[0] <= shares[name] <= most.get(name, COVERED[1]), (name, shares[name])


def test_the_average_precision_of_few_positive_rows_misses_on_both_sides() -> None:
    days = make_days(SHAPES["2 % positive"], 400, 5_000, 2_000, threshold=0.1, seed=1)
    truth = realised(days, 0.1)["average_precision"]
    estimate = expected_metrics(days.bins)["average_precision"]
    low, high = band_ends("average_precision", estimate)
    margin = Z_95 * estimate.error

    assert COVERED[0] <= ((low <= truth) & (truth <= high)).mean() <= COVERED[1]
    assert (truth < low).any()

    # A symmetric band misses above alone, but for a day or two.
    below, above = truth < estimate.value - margin, truth > estimate.value + margin
    assert above.mean() > 10 * below.mean()
    assert above.mean() > 0.04


def test_bands_hold_where_one_row_in_fifty_is_positive() -> None:
    shares = covered("2 % positive", 5_000, 1_000, seed=5, threshold=0.1)
    for name in (*OF_ANY_DAY, *OF_DECISIONS):
        assert COVERED[0] <= shares[name] <= COVERED[1], (name, shares[name])


def test_a_baseline_with_few_positive_rows_would_promise_too_much() -> None:
    n_labelled = 1_000
    assert 0.02 * n_labelled < LEAST_LABELLED, "such a baseline gives no estimate"
    shares = covered("2 % positive", n_labelled, 200, seed=6, threshold=0.1)
    assert shares["roc_auc"] < COVERED[0]


def test_estimates_are_not_biased() -> None:
    days = make_days(SHAPES["calibrated"], N_DAYS, 2_000, 1_000, seed=7)
    came_true = realised(days)
    for name, (value, _) in expected_metrics(days.bins).items():
        differences = value - came_true[name]
        tolerance = 4 * differences.std() / np.sqrt(N_DAYS)
        assert abs(differences.mean()) < tolerance, name


@pytest.mark.parametrize(
    ("noise", "n_labelled", "n_rows"),
    [
        ("normal", 1_000, 200),
        ("heavy tails", 500, 200),
        ("heavy tails", 2_000, 1_000),
        ("heavier tails", 1_000, 200),
        ("skewed", 1_000, 1_000),
        ("skewed", 2_000, 200),
    ],
)
def test_bands_of_errors_cover_what_comes_true(noise: str, n_labelled: int, n_rows: int) -> None:
    days = make_error_days(noise, N_DAYS, n_labelled, n_rows, seed=n_labelled + n_rows)
    expected = expected_errors(days.bins)
    truth = {
        "rmse": np.sqrt(np.square(days.errors).mean(1)),
        "mae": np.abs(days.errors).mean(1),
        "bias": days.errors.mean(1),
    }

    for name in ESTIMATED_ERRORS:
        low, high = np.array([*bands(name, expected["mse" if name == "rmse" else name])]).T
        covered_share = ((low <= truth[name]) & (truth[name] <= high)).mean()
        assert COVERED[0] <= covered_share <= COVERED[1], (name, covered_share)


def test_estimated_errors_are_not_biased() -> None:
    days = make_error_days("skewed", N_DAYS, 1_000, 500, seed=8)
    expected = expected_errors(days.bins)
    truth = {
        "mse": np.square(days.errors).mean(1),
        "mae": np.abs(days.errors).mean(1),
        "bias": days.errors.mean(1),
    }
    for name, mean in expected.items():
        differences = mean.value - truth[name]
        assert abs(differences.mean()) < 4 * differences.std() / np.sqrt(N_DAYS), name
