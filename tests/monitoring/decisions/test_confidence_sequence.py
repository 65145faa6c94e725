"""The confidence sequence holds at every look, and decides."""

import numpy as np
import pytest
from scipy import integrate, stats

from nightscore.monitoring.decisions import confidence_sequence
from nightscore.monitoring.decisions.confidence_sequence import (
    ERROR,
    interval,
    is_refused,
    log_evidence,
)
from tests.bench.promotions import (
    N_LOOKS,
    TOO_SURE,
    binary_days,
    correlated_days,
    false_promotions,
    measure,
    show,
    too_sure_days,
)

N_SERIES = 1_500


def test_evidence_is_the_ratio_of_the_integrated_likelihoods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By numeric integration over the spread and the mean, with densities of scipy."""
    correlations = (0.0, 0.5)
    monkeypatch.setattr(confidence_sequence, "CORRELATIONS", np.array(correlations))
    monkeypatch.setattr(confidence_sequence, "SPREADS", (2.0,))
    days = np.array([0.8, 1.1, 0.3, 0.9])

    def covariance(correlation: float) -> np.ndarray:
        apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
        return correlation**apart / (1 - correlation**2)

    def integrated(of_days: np.ndarray) -> float:
        # The spread s has the prior 1 / s, so its logarithm has a constant one.
        def at(log_spread: float) -> float:
            spread = np.exp(log_spread)
            return float(stats.multivariate_normal(np.zeros(4), spread**2 * of_days).pdf(days))

        return float(integrate.quad(at, -6, 8, limit=200)[0])

    without = max(integrated(covariance(phi)) for phi in correlations)
    ways = [integrated(covariance(phi) + 4 / (1 - phi**2)) for phi in correlations]

    assert log_evidence(days)[-1] == pytest.approx(np.log(np.mean(ways) / without), rel=1e-6)


@pytest.mark.parametrize("tails", ["normal", "t3", "skewed"])
def test_at_most_5_percent_false_promotions_in_30_looks(tails: str) -> None:
    for correlation in (0.0, 0.5):
        rng = np.random.default_rng(1)
        days = correlated_days(rng, (N_SERIES, N_LOOKS), correlation, tails)
        assert false_promotions(days) <= 0.05


@pytest.mark.parametrize("growth", [1.0, 1.1])
def test_nor_with_few_binary_rows_and_growing_volumes(growth: float) -> None:
    days, variances = binary_days(np.random.default_rng(2), (N_SERIES, N_LOOKS), 0.5, growth)
    assert false_promotions(days, variances) <= 0.05


@pytest.mark.parametrize(("champion", "challenger"), TOO_SURE)
def test_nor_of_models_that_are_too_sure(champion: float, challenger: float) -> None:
    days, variances = too_sure_days(
        np.random.default_rng(9), (N_SERIES, N_LOOKS), champion, challenger
    )
    assert false_promotions(days, variances) <= 0.05


def test_nightly_t_tests_would_promote_one_in_four() -> None:
    """The simulation can show false promotions: the usual test has them."""
    days = correlated_days(np.random.default_rng(3), (N_SERIES, N_LOOKS), 0.5, "normal")
    looks = np.arange(1, N_LOOKS + 1)[6:]

    means = (np.cumsum(days, axis=1) / np.arange(1, N_LOOKS + 1))[:, 6:]
    squares = (np.cumsum(days**2, axis=1) / np.arange(1, N_LOOKS + 1))[:, 6:]
    statistics = means / np.sqrt((squares - means**2) / (looks - 1))
    is_promoted = statistics < stats.t.ppf(0.05, looks - 1)

    assert is_promoted.any(axis=1).mean() > 0.25


def test_the_interval_ends_where_the_evidence_is_enough() -> None:
    days = np.random.default_rng(4).normal(-1.0, 0.5, 15)
    found = interval(days)
    assert found is not None

    low, high = found
    assert low < days.mean() < high
    for end in (low, high):
        assert log_evidence(days - end)[-1] == pytest.approx(-np.log(ERROR), abs=1e-6)


def test_the_interval_keeps_units() -> None:
    days = np.random.default_rng(5).normal(0.2, 1.0, 12)
    variances = np.full(12, 0.01)
    low, high = interval(days, variances) or (0.0, 0.0)
    scaled = interval(days * 1e-4, variances * 1e-8)

    assert scaled == pytest.approx((low * 1e-4, high * 1e-4), rel=1e-6)


def test_one_night_has_no_interval() -> None:
    assert interval(np.array([0.3])) is None
    assert log_evidence(np.array([0.3]))[0] == pytest.approx(0, abs=1e-12)


def test_days_that_are_equal_by_chance_prove_nothing() -> None:
    """One row in 300 differs on each of eight days."""
    days = np.full(8, -1 / 300)
    variances = np.full(8, 1 / 300 / 300)

    assert is_refused(log_evidence(days))[-1]
    assert not is_refused(log_evidence(days, variances)).any()


def test_models_that_are_equal_differ_by_nothing() -> None:
    zeros = np.zeros(10)
    assert not is_refused(log_evidence(zeros, zeros)).any()

    low, high = interval(zeros, zeros) or (1.0, 1.0)
    assert -1e-80 < low < 0 < high < 1e-80


def test_the_benchmark_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    result = measure(n_series=50, n_of_power=40)
    show(result)

    printed = capsys.readouterr().out
    assert "skewed to better, correlation 0.7" in printed
    assert set(result["nights"]["0.5"]) == {"0.3", "0.5", "0.75", "1.0", "1.5", "2.0", "3.0", "5.0"}
