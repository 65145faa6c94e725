"""Estimates each day of each scenario in every way, and keeps what they said beside what came true."""

import contextlib
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tests.bench.estimates import ours
from tests.bench.estimates.case import Case, Estimated, Estimates, Rows, came_true
from tests.bench.estimates.nannyml_peer import NannyML
from tests.bench.estimates.scenarios import SCENARIOS, Scenario
from tests.bench.estimates.year_cost import DAYS_OF_YEAR, n_days_of, our_year, peers_year
from tests.bench.machine import describe_machine, versions

PLAIN, ADJUSTED, PEER = "plain", "adjusted", "NannyML"
OURS: Mapping[str, Callable[[Case], Estimates]] = {
    PLAIN: ours.estimate,
    ADJUSTED: ours.estimate_adjusted,
}
"""The project's own ways."""
N_DAYS = 20
"""Of each scenario, each with a seed, a model and a baseline of its own."""
COST_ROWS = (1_000, 10_000, 100_000, 1_000_000)
"""Rows of the days whose cost is measured."""
COST_BASELINE_ROWS = 20_000
COST_REPEATS = 3
CPU_PARTS = ("baseline_cpu_s", "day_cpu_s", "counting_cpu_s")
"""Of `Estimates`."""
LIBRARIES = ("numpy", "polars", "pyarrow", "scikit-learn")

Way = Callable[[Case], Estimates]


def measure(
    n_days: int = N_DAYS,
    kept: Path | None = None,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    cost_rows: Sequence[int] = COST_ROWS,
    most_days: int = DAYS_OF_YEAR,
    has_peer: bool = True,
) -> dict[str, Any]:
    """What each way said of each day, and what a day costs.

    Args:
        n_days: Days of each scenario.
        kept: File of the peer's earlier answers about the same rows; costs are measured anew.
        scenarios: Which ones.
        cost_rows: Rows of the days whose cost is measured.
        most_days: How many days are estimated in one call, where they are small.
        has_peer: Ask NannyML too, as far as it can be installed.
    """
    machine = describe_machine()
    with _all_ways(has_peer, kept) as (ways, peer_versions):
        by_scenario: dict[str, dict[str, Any]] = {
            scenario.name: {"kind": scenario.kind, "days": []} for scenario in scenarios
        }
        for seed in range(n_days):
            print(f"day {seed + 1} of {n_days} of {len(scenarios)} scenarios", flush=True)
            for scenario in scenarios:
                by_scenario[scenario.name]["days"].append(_day(scenario, seed, ways))

    with _all_ways(has_peer, None) as (ways, _):
        cost = {str(n_rows): _cost(n_rows, ways) for n_rows in cost_rows}
    years = _costs_of_years(cost_rows, most_days, has_peer=PEER in ways)

    return {
        "machine": machine,
        "versions": versions(LIBRARIES),
        "peer_versions": peer_versions,
        "ways": [*ways],
        "days": n_days,
        "scenarios": by_scenario,
        "cost": cost,
        "years": years,
        "cost_baseline_rows": COST_BASELINE_ROWS,
    }


@contextlib.contextmanager
def _all_ways(has_peer: bool, kept: Path | None) -> Iterator[tuple[dict[str, Way], dict[str, str]]]:
    """All ways by name, and the versions of the peer; without the peer where it cannot run."""
    if not has_peer:
        yield {**OURS}, {}
        return

    with contextlib.ExitStack() as stack:
        try:
            peer = stack.enter_context(NannyML(kept))
        except RuntimeError as error:
            print(error, flush=True)
            yield {**OURS}, {}
            return

        yield {**OURS, PEER: peer.estimate}, peer.versions()


def _day(scenario: Scenario, seed: int, ways: Mapping[str, Way]) -> dict[str, Any]:
    """One day: the truth, and what each way estimates."""
    with threadpool_limits(1):  # the same scores on any number of cores
        case = scenario.case(seed)
    truth = came_true(case.day, case.threshold)
    shown = {name: None if math.isnan(value) else value for name, value in truth.items()}
    return {"truth": shown, "ways": {name: _as_json(way(case)) for name, way in ways.items()}}


def _as_json(estimates: Estimates) -> dict[str, Any]:
    metrics = {name: _known(estimated) for name, estimated in estimates.metrics.items()}
    return {"metrics": metrics} | {part: getattr(estimates, part) for part in CPU_PARTS}


def _known(estimated: Estimated) -> list[float] | None:
    return None if math.isnan(estimated.value) else list(estimated)


def _cost(n_rows: int, ways: Mapping[str, Way]) -> dict[str, dict[str, float]]:
    """CPU seconds of a day of so many rows, medians; the ways are called in turn."""
    rng = np.random.default_rng(n_rows)
    case = Case(_calibrated(COST_BASELINE_ROWS, rng), _calibrated(n_rows, rng), 0.5)

    told: dict[str, list[Estimates]] = {name: [] for name in ways}
    for _ in range(COST_REPEATS):
        for name, way in ways.items():
            told[name].append(way(case))

    return {
        name: {part: statistics.median(getattr(one, part) for one in of_way) for part in CPU_PARTS}
        for name, of_way in told.items()
    }


def _costs_of_years(
    cost_rows: Sequence[int], most_days: int, *, has_peer: bool
) -> dict[str, dict[str, Any]]:
    """What many days cost in one call, by rows of a day and by way."""
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(NannyML()) if has_peer else None

        years = {}
        for n_rows in cost_rows:
            rng = np.random.default_rng(n_rows)
            case = Case(_calibrated(COST_BASELINE_ROWS, rng), _calibrated(n_rows, rng), 0.5)
            days = [_calibrated(n_rows, rng) for _ in range(n_days_of(n_rows, most_days))]

            costs = {PLAIN: our_year(case, days)}
            if peer is not None:
                costs[PEER] = peers_year(case, days, peer)
            of_ways = {way: cost._asdict() for way, cost in costs.items()}
            years[str(n_rows)] = of_ways | {"n_days": len(days)}
        return years


def _calibrated(n_rows: int, rng: np.random.Generator) -> Rows:
    scores = rng.beta(2.0, 3.0, n_rows)
    labels = (rng.random(n_rows) < scores).astype(np.float64)
    return Rows(pd.DataFrame({"x": scores}), scores, labels)
