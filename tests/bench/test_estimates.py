"""The benchmark of estimates: its data shift as they say, and its tables judge rightly."""

from typing import Any

import numpy as np
import pytest

from tests.bench.estimates import ours
from tests.bench.estimates.case import METRICS, Case, came_true
from tests.bench.estimates.made_rows import Made, Shift, kept, make_case, moved, stretched
from tests.bench.estimates.measure import ADJUSTED, PEER, PLAIN, measure
from tests.bench.estimates.nannyml_peer import _digest
from tests.bench.estimates.report import bars, errors_of, lines
from tests.bench.estimates.scenarios import KINDS, SCENARIOS

SIZES = (20_000, 4_000, 4_000)


def test_there_are_at_least_thirty_scenarios_of_all_kinds() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS) >= 30
    assert {scenario.kind for scenario in SCENARIOS} == {*KINDS}


def _gap(case: Case) -> float:
    """By how much more rows of the day are positive than a calibrated model says."""
    return float((case.day.labels - case.day.scores).mean())


@pytest.mark.parametrize(
    "shift",
    [moved({0: 1.0}), stretched({0: 2.0, 1: 0.5}), kept(lambda x: np.where(x[:, 0] > 0, 1.0, 0.2))],
)
def test_covariate_shift_keeps_what_the_label_depends_on(shift: Shift) -> None:
    made = Made(shift=shift, n_drawn=4)
    case = make_case(made, "linear", SIZES, 0.5, seed=1)
    assert abs(case.day.features["x0"].std() - 1) > 0.2 or case.day.features["x0"].mean() > 0.3
    assert abs(_gap(case)) < 0.025, "a model that has seen the truth is calibrated anywhere"


def test_other_shifts_change_it() -> None:
    more = make_case(Made(day_share=0.5, n_drawn=3), "linear", SIZES, 0.5, seed=2)
    assert more.day.labels.mean() == 0.5
    assert _gap(more) > 0.05
    concept = make_case(Made(concept={"intercept": 0.7}), "linear", SIZES, 0.5, seed=2)
    assert _gap(concept) > 0.05


def test_the_same_seed_gives_the_same_rows() -> None:
    one, same, other = (
        make_case(Made(), "linear", (500, 500, 500), 0.5, seed) for seed in (1, 1, 2)
    )
    assert _digest(one) == _digest(same) != _digest(other)
    assert (one.day.labels == same.day.labels).all()


def test_an_estimate_of_a_day_like_the_baseline_is_near_what_comes_true() -> None:
    case = make_case(Made(), "linear", SIZES, 0.5, seed=3)
    estimates, truth = ours.estimate(case).metrics, came_true(case.day, case.threshold)
    assert [*estimates] == [*truth] == [*METRICS]
    for name, (value, low, high) in estimates.items():
        assert low < value < high
        assert abs(value - truth[name]) < high - low, name


def _told(*values: float | None) -> dict[str, Any]:
    """What a way says: AUC, then accuracy; nothing else is known."""
    known = dict(zip(("roc_auc", "accuracy"), values, strict=True))
    told = {}
    for name in METRICS:
        value = known.get(name)
        told[name] = None if value is None else [value, value - 0.05, value + 0.05]
    return {"metrics": told}


def _day(truth: float, mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    true = {name: truth if name in ("roc_auc", "accuracy") else None for name in METRICS}
    return {"truth": true, "ways": {PLAIN: mine, PEER: theirs}}


@pytest.fixture
def result() -> dict[str, Any]:
    days = [
        _day(0.8, _told(0.81, 0.8), _told(0.9, 0.84)),
        _day(0.7, _told(0.67, None), _told(0.7, 0.7)),
    ]
    parts = ("baseline_cpu_s", "day_cpu_s", "counting_cpu_s")
    mine, theirs = (
        dict(zip(parts, numbers, strict=True)) for numbers in ((0.01, 0.002, 0.0015), (1.0, 0.1, 0))
    )
    return {
        "machine": {"cores": 2, "cpu": "a processor"},
        "versions": {},
        "peer_versions": {"nannyml": "0.13.1"},
        "ways": [PLAIN, PEER],
        "days": 2,
        "scenarios": {"moved": {"kind": "covariate", "days": days}},
        "cost": {"1000": {PLAIN: mine, PEER: theirs}},
        "cost_baseline_rows": 20_000,
    }


def test_errors_are_of_the_days_that_all_ways_know(result: dict[str, Any]) -> None:
    errors = errors_of(result["scenarios"]["moved"], result["ways"])
    assert errors[PLAIN].by_metric == pytest.approx({"roc_auc": 0.02, "accuracy": 0.0})
    assert errors[PEER].by_metric == pytest.approx({"roc_auc": 0.05, "accuracy": 0.04})
    assert (errors[PLAIN].covered, errors[PEER].covered) == pytest.approx((1.0, 2 / 3))


def test_bars_are_judged(result: dict[str, Any]) -> None:
    found = [(bar.is_met, bar.found.partition(" (")[0]) for bar in bars(result)]
    assert found == [
        (True, "0.222"),
        (True, "0.222"),
        (False, "50 times"),
        (True, "200 times"),
        (False, "92 times"),
    ]
    text = "\n".join(lines(result))
    assert "concept drift" in text
    assert "MISSED plain, a day of 1,000 rows: at least 100 times cheaper than NannyML" in text


def test_a_year_has_both_readings(result: dict[str, Any]) -> None:
    mine = {"baseline_cpu_s": 0.01, "reading_cpu_s": 0.001, "estimate_cpu_s": 0.0001}
    theirs = {"baseline_cpu_s": 1.0, "reading_cpu_s": 0.001, "estimate_cpu_s": 0.021}
    result["years"] = {"1000": {PLAIN: mine, PEER: theirs, "n_days": 365}}

    memory, stored = bars(result)[-2:]
    assert (memory.is_met, memory.found) == (True, "210 times")
    assert (stored.is_met, stored.found) == (False, "20 times")
    text = "\n".join(lines(result))
    assert "1,000          365 plain         0.100      1.000" in text


def test_the_adjusted_estimate_has_bars_of_its_own(result: dict[str, Any]) -> None:
    result["ways"].append(ADJUSTED)
    for day in result["scenarios"]["moved"]["days"]:
        day["ways"][ADJUSTED] = day["ways"][PEER]
    result["cost"]["1000"][ADJUSTED] = {"day_cpu_s": 0.35}

    found = [(bar.is_met, bar.found.partition(" (")[0]) for bar in bars(result)]
    assert found[2:4] == [(True, "1.000"), (False, "1.000")]
    assert found[-1] == (True, "0.35 CPU s")


def test_the_tables_are_made_without_the_peer_too() -> None:
    few = [SCENARIOS[0]]
    result = measure(1, scenarios=few, cost_rows=(1_000,), most_days=5, has_peer=False)
    text = "\n".join(lines(result))
    assert few[0].name in text
    assert "beside it: none" in text
    assert "1,000            5 plain" in text
    assert bars(result) == []
