"""The confidence sequence holds at every look, and decides."""

import numpy as np
import pytest
from scipy import integrate, stats

from nightscore.monitoring.decisions import confidence_sequence, day_models
from nightscore.monitoring.decisions.confidence_sequence import (
    ERROR,
    LEAST_NIGHTS,
    interval,
    is_refused,
    log_evidence,
)
from tests.bench.promotions import (
    N_LOOKS,
    false_promotions,
    false_promotions_of_any,
    first_better,
    is_called_better,
    measure,
    show,
)
from tests.bench.simulated_days import (
    TOO_SURE,
    binary_days,
    correlated_days,
    days_of_rows,
    rows_of_nights,
    too_sure_days,
)

N_SERIES = 1_500


def test_evidence_is_the_ratio_of_the_integrated_likelihoods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By numeric integration over the spread and the mean, with densities of scipy."""
    monkeypatch.setattr(day_models, "CORRELATIONS", np.array([0.0, 0.5]))
    monkeypatch.setattr(day_models, "SHARES_OF_ROWS", (0.0, 0.4))
    monkeypatch.setattr(day_models, "ALTERNATIVES", ((0.5, 0.0), (0.0, 0.4)))
    monkeypatch.setattr(confidence_sequence, "SPREADS", (2.0,))
    monkeypatch.setattr(day_models, "_day_models", day_models._day_models.__wrapped__)
    days, rows = np.array([0.8, 1.1, 0.3, 0.9]), np.array([100.0, 20.0, 100.0, 50.0])

    def covariance(correlation: float, share: float) -> np.ndarray:
        apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
        of_rows = np.diag(stats.hmean(rows) / rows)
        return (1 - share) * correlation**apart + share * of_rows

    def integrated(of_days: np.ndarray) -> float:
        # The spread s has the prior 1 / s, so its logarithm has a constant one.
        def at(log_spread: float) -> float:
            spread = np.exp(log_spread)
            return float(stats.multivariate_normal(np.zeros(4), spread**2 * of_days).pdf(days))

        return float(integrate.quad(at, -6, 8, limit=200)[0])

    models = [(phi, share) for phi in (0.0, 0.5) for share in (0.0, 0.4)]
    without = max(integrated(covariance(*model)) for model in models)
    ways = [integrated(covariance(*model) + 4) for model in ((0.5, 0.0), (0.0, 0.4))]

    expected = np.log(np.mean(ways) / without)
    assert log_evidence(days, rows=rows)[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("tails", ["normal", "t3", "skewed"])
def test_at_most_5_percent_false_promotions_in_30_looks(tails: str) -> None:
    for correlation in (0.0, 0.5, 0.7):
        rng = np.random.default_rng(1)
        days = correlated_days(rng, (N_SERIES, N_LOOKS), correlation, tails)
        assert false_promotions(days) <= 0.05


@pytest.mark.parametrize("kind", ["a canary after 10 nights", "each 2nd night a canary"])
def test_nor_where_nights_have_3000_or_151_rows(kind: str) -> None:
    rows = rows_of_nights(kind, N_LOOKS)
    for share_of_rows in (0.0, 0.9):
        rng = np.random.default_rng(10)
        days, variances = days_of_rows(rng, N_SERIES, rows, share_of_rows)
        assert false_promotions(days, variances, rows) <= 0.05


def test_a_night_of_few_rows_seldom_takes_a_verdict_back() -> None:
    rows = np.array([3_000.0] * 20 + [151.0])
    days, variances = days_of_rows(np.random.default_rng(11), 400, rows, share_of_rows=0.9)
    days -= 2.0

    said = is_called_better(days, variances, rows)
    is_taken_back = said[:, -2] & ~said[:, -1]
    assert said[:, -2].sum() > 200
    assert is_taken_back.sum() / said[:, -2].sum() < 0.1

    as_any_other = is_called_better(days, variances)
    is_taken_back = as_any_other[:, -2] & ~as_any_other[:, -1]
    assert is_taken_back.sum() / as_any_other[:, -2].sum() > 0.3


def test_differences_are_found_sooner_where_some_nights_have_few_rows() -> None:
    rows = rows_of_nights("each 2nd night a canary", 60)
    days, variances = days_of_rows(np.random.default_rng(12), 200, rows, share_of_rows=0.9)

    weighed, alike = (
        np.median(first_better(days - 2, variances, of_days)) for of_days in (rows, None)
    )
    assert weighed < alike / 1.5


def test_what_was_said_does_not_depend_on_later_nights() -> None:
    rng = np.random.default_rng(13)
    days, rows = rng.normal(0, 1, 20), rng.integers(30, 3_000, 20).astype(float)
    variances = 1 / rows
    said = log_evidence(days, variances, rows)

    for n_nights in range(LEAST_NIGHTS, 20):
        before = log_evidence(days[:n_nights], variances[:n_nights], rows[:n_nights])
        assert before == pytest.approx(said[:n_nights], rel=1e-9, abs=1e-9)


def test_of_several_challengers_any_is_wrongly_called_better_as_seldom_as_one() -> None:
    """Without a correction it would be more often."""
    shape = (N_SERIES, N_LOOKS)
    all_days = [
        correlated_days(np.random.default_rng(seed), shape, 0.7, "skewed") for seed in range(4)
    ]
    assert false_promotions_of_any(all_days) <= 0.05

    each_alone = [first_better(days) for days in all_days]
    assert (np.min(each_alone, axis=0) <= N_LOOKS).mean() > 0.1


def test_the_interval_is_wider_with_several_challengers() -> None:
    days = np.random.default_rng(14).normal(0, 1, 14)
    low, high = interval(days) or (0.0, 0.0)
    wider = interval(days, n_challengers=3) or (0.0, 0.0)
    assert wider[0] < low < high < wider[1]


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
