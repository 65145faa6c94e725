"""What is said after some nights."""

import numpy as np
import pytest

from nightscore.monitoring.decisions.confidence_sequence import is_refused, log_evidence
from nightscore.monitoring.decisions.nights import Night
from nightscore.monitoring.decisions.verdict import compare_nights, nights_to_decide
from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.schemas.comparison import LossSums, PairedRecord


def nights_of(differences: list[float], n: int = 500) -> list[Night]:
    """Nights with these mean differences of the log loss."""
    nights = []
    for number, difference in enumerate(differences):
        sums = LossSums(name="log_loss", n=n, champion=0.4, difference=difference, variance=1e-6)
        pairs = PairedRecord(n=n, losses=(sums,), only_champion_right=2, only_challenger_right=3)
        nights.append(Night(f"2026-03-{number + 1:02}", pairs))
    return nights


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
    none = np.zeros(40)
    forecasts = [nights_to_decide(days[:n], none[:n]) for n in (10, 20, 30)]

    told = [n for n in forecasts if n is not None]
    assert len(told) == 3
    assert told[0] > told[1] > told[2] >= 1


def test_some_forecasts_are_none() -> None:
    few, many = np.array([0.1, 0.2]), np.array([0.1, -0.1] * 10)
    assert nights_to_decide(few, few * 0) is None
    assert nights_to_decide(many, many * 0) is None

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
