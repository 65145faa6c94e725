"""What is said after some nights."""

import numpy as np
import pytest
from scipy import optimize, special, stats

from nightscore.monitoring.decisions.confidence_sequence import is_refused, log_evidence
from nightscore.monitoring.decisions.nights import Night
from nightscore.monitoring.decisions.verdict import Series, compare_nights, nights_to_decide
from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.profiles.bins import Floats
from nightscore.schemas.comparison import LossSums, PairedRecord


def nights_of(differences: list[float], n: int = 500) -> list[Night]:
    """Nights with these mean differences of the log loss."""
    nights = []
    for number, difference in enumerate(differences):
        sums = LossSums(name="log_loss", n=n, champion=0.4, difference=difference, variance=1e-6)
        pairs = PairedRecord(n=n, losses=(sums,), only_champion_right=2, only_challenger_right=3)
        nights.append(Night(f"2026-03-{number + 1:02}", pairs))
    return nights


def series_of(days: Floats) -> Series:
    """Nights with as many rows each, which explain nothing."""
    return Series(days=days, variances=np.zeros(len(days)), rows=np.full(len(days), 500.0))


def _around(mean: float, n_nights: int, spread: float = 0.01) -> list[float]:
    noise = np.random.default_rng(7).normal(0, spread, n_nights)
    return [*(mean + noise - noise.mean())]


@pytest.mark.parametrize(
    ("mean", "verdict"), [(-0.03, "better"), (0.03, "worse"), (-0.002, "undecided")]
)
def test_verdicts(mean: float, verdict: str) -> None:
    found = compare_nights("7", "8", nights_of(_around(mean, 14)))

    assert (found.verdict, found.by, found.nights, found.rows) == (verdict, "labels", 14, 7_000)
    assert found.losses[0].difference == pytest.approx(mean)
    assert (found.first, found.last) == ("2026-03-01", "2026-03-14")
    assert found.is_better_by_labels == (verdict == "better")


def test_a_small_difference_does_not_matter() -> None:
    found = compare_nights("7", "8", nights_of(_around(0.0002, 14, 0.001)))
    assert found.verdict == "no_difference"
    assert "no difference that matters" in describe_standing(found)


def test_nothing_is_decided_before_each_day_of_the_week_was_seen() -> None:
    differences = _around(-0.5, 6, 0.001)
    found = compare_nights("7", "8", nights_of(differences))

    assert (found.verdict, found.more_nights) == ("undecided", 1)
    assert describe_standing(found) == (
        "challenger 8 against 7: undecided after 6 nights, about 1 more night"
    )
    seventh = compare_nights("7", "8", nights_of([*differences, -0.5]))
    assert seventh.verdict == "better"


def test_nights_with_few_rows_are_left_out_and_named() -> None:
    nights = [*nights_of([-0.3] * 3), *nights_of([9.0], n=29)]
    found = compare_nights("7", "8", nights)

    assert (found.nights, found.losses[0].difference) == (3, pytest.approx(-0.3))
    assert found.notes == ("1 night left out: fewer than 30 labelled rows of both",)


def test_without_nights_nothing_is_known() -> None:
    found = compare_nights("7", "8", [])
    assert (found.verdict, found.by) == ("unknown", "nothing")
    assert describe_standing(found) == (
        "challenger 8 against 7: nothing compares them yet: "
        "no night has labelled rows that both have scored"
    )


def test_forecasts_fall_as_nights_come() -> None:
    days = np.array(_around(-0.01, 40))
    forecasts = [nights_to_decide(series_of(days[:n])) for n in (10, 20, 30)]

    told = [n for n in forecasts if n is not None]
    assert len(told) == 3
    assert told[0] > told[1] > told[2] >= 1


def test_some_forecasts_are_none() -> None:
    few, many = np.array([0.1, 0.2]), np.array([0.1, -0.1] * 10)
    assert nights_to_decide(series_of(few)) is None
    assert nights_to_decide(series_of(many)) is None

    two_nights = describe_standing(compare_nights("7", "8", nights_of([*few])))
    assert two_nights.endswith("undecided after 2 nights, too few for a forecast")
    no_difference = describe_standing(compare_nights("7", "8", nights_of([*many])))
    assert no_difference.endswith("undecided after 20 nights, and no decision in sight")


def test_details_name_what_decides_and_what_does_not() -> None:
    lines = [*describe_details(compare_nights("7", "8", nights_of(_around(-0.03, 14))))]

    assert lines[0] == "nights from 2026-03-01 to 2026-03-14: 7,000 rows with labels"
    assert lines[1].startswith("log loss: -0.03 (-0.0")
    assert lines[1].endswith("from 0.4")
    assert lines[2] == (
        "only the challenger right: 42 rows; only the champion: 28 "
        "(McNemar p = 0.12; decides nothing)"
    )


def test_one_of_several_challengers_needs_more() -> None:
    nights = nights_of(_around(-0.012, 12))
    alone, among = (compare_nights("7", "8", nights, n) for n in (1, 3))
    assert (alone.n_challengers, among.n_challengers) == (1, 3)

    bounds = [one.losses[0].high or 0.0 for one in (alone, among)]
    assert bounds[0] < bounds[1]
    assert "one of 3 challengers: its interval is wider than of one alone" in [
        *describe_details(among)
    ]
    assert not any("challengers" in line for line in describe_details(alone))


def test_the_verdict_is_what_the_simulation_counts() -> None:
    """`better` exactly where the evidence refuses 0, and the mean is below it."""
    rng = np.random.default_rng(8)
    verdicts = set()

    for _ in range(25):
        differences = rng.normal(-0.01, 0.012, int(rng.integers(7, 25)))
        days, variances = differences, np.full(len(differences), 1e-6 / 499)
        is_better = bool(is_refused(log_evidence(days, variances))[-1]) and days.mean() < 0

        found = compare_nights("7", "8", nights_of([*differences]))
        assert (found.verdict == "better") == is_better
        verdicts.add(found.verdict)

    assert verdicts >= {"better", "undecided"}


def test_the_numbers_of_unequal_nights_by_other_means() -> None:
    """The interval's ends, by densities of a multivariate t-distribution and a root finder."""
    differences = [-0.021, -0.034, -0.012, -0.05, 0.02, -0.027, -0.018, -0.04, -0.029, -0.011]
    rows = [3_000, 2_800, 3_100, 2_900, 151, 3_000, 400, 3_200, 2_700, 3_000]
    nights = []
    for place, (difference, n) in enumerate(zip(differences, rows, strict=True)):
        sums = LossSums(
            name="log_loss", n=n, champion=0.4 + place / 100, difference=difference, variance=0.3
        )
        nights.append(Night(f"2026-03-{place + 1:02}", PairedRecord(n=n, losses=(sums,))))

    found = compare_nights("7", "8", nights).losses[0]

    # Rows of the first seven nights make a usual one.
    x, n, usual = np.array(differences), np.array(rows), stats.hmean(rows[:7])
    apart = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))

    def covariance(phi: float, share: float) -> np.ndarray:
        return (1 - share) * phi**apart + share * np.diag(usual / n)

    def density(days: np.ndarray, of_days: np.ndarray) -> float:
        distribution = stats.multivariate_t(np.zeros(10), of_days, df=1e-12)
        return float(distribution.logpdf(days))

    def excess(mean: float) -> float:
        days = x - mean
        null = [density(days, covariance(phi, q)) for q in (0, 0.5) for phi in np.arange(9) * 0.09]
        null.append(density(days, covariance(0, 1)))

        pairs = ((0.5, 0), (0, 0.5), (0, 1))
        others = [density(days, covariance(*pair) + s**2) for pair in pairs for s in (0.5, 2)]
        of_days = special.logsumexp(others) - np.log(6) - max(null)

        variances = 0.3 * n**2 / (n - 1)
        prior = variances[:7].sum()
        both = variances.sum() + prior
        sum_of_rows = stats.norm.logpdf((n * days).sum(), scale=np.sqrt(both))
        of_rows = sum_of_rows - stats.norm.logpdf((n * days).sum(), scale=np.sqrt(both - prior))
        return float(min(of_days, of_rows) - np.log(10))

    weights = 1 / (1 + usual / n)
    assert found.difference == pytest.approx(np.average(x, weights=weights))
    assert found.champion == pytest.approx(np.average(0.4 + np.arange(10) / 100, weights=weights))
    assert found.low == pytest.approx(optimize.brentq(excess, -0.5, found.difference), rel=1e-4)
    assert found.high == pytest.approx(optimize.brentq(excess, found.difference, 0.5), rel=1e-4)
