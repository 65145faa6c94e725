"""The spread between partitions, by simulation; and what a record says of it."""

import numpy as np
import pytest

from nightscore.monitoring.performance.metrics.intervals import Z_95
from nightscore.monitoring.performance.partition_spread import (
    LEAST_PARTITIONS,
    expected_margin,
    spread_of_partitions,
)
from nightscore.monitoring.performance.track_record import (
    PartitionPerformance,
    show_record,
    track_records,
)
from nightscore.profiles.bins import Floats
from nightscore.schemas.performance import MetricRecord

ERROR = 0.01
"""Standard error that a band counts."""
N_JOBS = 4_000


def _errors(n: int, between: float, seed: int, *, has_storms: bool) -> tuple[Floats, Floats]:
    """Errors and variances of rows of many jobs, whose days differ by so many standard errors."""
    rng = np.random.default_rng(seed)
    errors_of_rows = ERROR * rng.uniform(0.7, 1.3, (N_JOBS, n))
    # Student's distribution with 4 degrees of freedom has the variance 2, and storms.
    days = rng.standard_t(4, (N_JOBS, n)) / 2**0.5 if has_storms else rng.normal(size=(N_JOBS, n))
    errors = between * ERROR * days + errors_of_rows * rng.normal(size=(N_JOBS, n))
    return errors, np.square(errors_of_rows)


@pytest.mark.parametrize("n", [10, 15, 30])
@pytest.mark.parametrize(("between", "least", "most"), [(0, 95, 99), (1, 93, 97), (3, 93, 97)])
@pytest.mark.parametrize("has_storms", [False, True])
def test_the_next_partition_is_within_the_margin(
    n: int, between: float, least: float, most: float, has_storms: bool
) -> None:
    errors, of_rows = _errors(n + 1, between, seed=n, has_storms=has_storms)
    known = (np.square(errors[:, :n]) - of_rows[:, :n]).mean(1)
    margins = expected_margin(of_rows[:, n], known, n)
    covered = 100 * float((np.abs(errors[:, n]) <= margins).mean())
    assert least - 0.5 <= covered <= most + 0.5

    by_rows = 100 * float((np.abs(errors[:, n]) <= Z_95 * np.sqrt(of_rows[:, n])).mean())
    assert between == 0 or by_rows < 90, "rows alone promise too much"


def _pairs(errors: Floats) -> list[tuple[MetricRecord, float]]:
    pairs = []
    for error in errors.tolist():
        low, high = 0.8 - Z_95 * ERROR, 0.8 + Z_95 * ERROR
        pairs.append((MetricRecord(name="roc_auc", value=0.8, low=low, high=high), 0.8 - error))
    return pairs


def test_each_partition_is_judged_by_the_others() -> None:
    errors = np.array([0.01, -0.01] * 6 + [0.5])
    spread = spread_of_partitions(_pairs(errors))
    assert spread is not None
    assert spread.n_within == 12, "the outlier would be within a margin that it has widened itself"
    assert spread.deviation == pytest.approx(np.sqrt(np.mean(errors**2) - ERROR**2))
    assert 0.01 < spread.margin < 0.5


def test_few_partitions_or_no_band_say_nothing() -> None:
    errors = np.full(LEAST_PARTITIONS, 0.01)
    assert spread_of_partitions(_pairs(errors[1:])) is None
    (estimate, value), *rest = _pairs(errors)
    assert spread_of_partitions([(estimate.model_copy(update={"low": None}), value), *rest]) is None


def _record(errors: Floats) -> str:
    partitions = []
    for estimate, value in _pairs(errors):
        realised = MetricRecord(name="roc_auc", value=value)
        partition = PartitionPerformance(
            partition="ds=2026-11-01",
            run_id="run",
            model="models:/m/1",
            estimated=(estimate,),
            realised=(realised,),
            is_matured=True,
        )
        partitions.append(partition)
    (record,) = track_records(partitions)
    return show_record(record)


def test_a_record_says_how_far_off_a_partition_may_be() -> None:
    assert _record(np.array([0.05, -0.05] * 6)).endswith(
        "The band counts rows only, and partitions differ by more: expect one within 0.109 of its "
        "estimate; 12 of 12 were, each judged by the others."
    )
    assert _record(np.array([0.005, -0.005] * 6)).endswith(
        "partitions differ by no more than that."
    )
    assert "The band counts" not in _record(np.array([0.05, -0.05]))
