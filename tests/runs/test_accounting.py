"""No row is missing, and no more are in quarantine than the job allows."""

from collections.abc import Callable
from typing import Any

import pytest

from nightscore.errors import QuarantineLimitError, ReconciliationError
from nightscore.runs.accounting import allowed_rows, reconcile, summarize
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import SourceRows
from nightscore.schemas.job import Limits
from nightscore.schemas.manifest import ColumnRecord, QuarantineExample
from tests.runs.conftest import result, run_plan


def finish(execution: Execution, *results: Any, **fields: Any) -> None:
    """Score the shards of a plan, and reconcile."""
    execution.results.scored += results
    plan = run_plan(execution, **fields)
    with execution.record.stage("score"):
        pass
    summarize(execution, plan)
    reconcile(execution, plan)


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({}, 0),
        ({"max_quarantined_rows": 7}, 7),
        ({"max_quarantined_share": 0.05}, 50),
        ({"max_quarantined_rows": 7, "max_quarantined_share": 0.05}, 7),
        ({"max_quarantined_rows": 70, "max_quarantined_share": 0.05}, 50),
    ],
)
def test_of_two_limits_the_stricter_one_counts(limits: dict[str, Any], allowed: int) -> None:
    assert allowed_rows(Limits(**limits), 1_000) == allowed


def test_shards_are_added_up(make_execution: Callable[..., Execution]) -> None:
    execution = make_execution(limits={"max_quarantined_rows": 5})
    execution.results.resumed.append(result(0, n_quarantined=1, pid=9, peak_bytes=999))
    finish(
        execution,
        result(1, n_quarantined=2, wall_s=3.0),
        result(2, pid=2, peak_bytes=80),
        n_shards=3,
    )
    manifest = execution.record.manifest
    counts = manifest.counts
    assert (counts.rows_in, counts.rows_scored, counts.rows_quarantined) == (30, 27, 3)
    assert manifest.quarantine.by_reason == {"null": 3}
    assert manifest.quarantine.by_column == {"a: null": 3}

    measures = manifest.measures
    assert (measures.n_shards, measures.n_shards_resumed, measures.n_workers) == (3, 1, 2)
    assert measures.peak_worker_bytes == (80, 50), "an earlier attempt's process is gone"
    assert measures.stages_s["workers_read"] == 1.0
    assert measures.slowest_shard_s == 3.0


def test_a_value_that_was_cast_away_is_a_warning(execution: Execution) -> None:
    column = ColumnRecord(name="a", role="feature", rows=10, nulled=1)
    finish(execution, result(0, columns=(column,)), n_shards=1)
    (warning,) = execution.record.manifest.warnings
    assert "missing value in place of 1 value of a" in warning


def test_a_lost_row_is_a_defect(execution: Execution) -> None:
    with pytest.raises(ReconciliationError, match="The rows do not add up") as caught:
        finish(execution, result(0), result(1, rows_in=9))
    assert caught.value.expected.startswith("20 rows")
    assert "19 read" in caught.value.found


def test_a_row_that_is_neither_scored_nor_quarantined_is_a_defect(execution: Execution) -> None:
    with pytest.raises(ReconciliationError):
        finish(execution, result(0), result(1, rows_quarantined=1))


def test_too_many_rows_in_quarantine_are_named(execution: Execution) -> None:
    example = QuarantineExample(
        source_file="f", source_row=3, reason="null", column="a", message="it is missing"
    )
    with pytest.raises(QuarantineLimitError) as caught:
        finish(execution, result(0, n_quarantined=2, examples=(example,)), result(1))
    error = caught.value
    assert error.what == "2 of 20 rows cannot be scored; nothing was published."
    assert error.problems == ("a: null in 2 rows", "f row 3: null in a: it is missing")
    assert "raise the limits" in error.next_step


def test_a_count_that_stopped_early_says_at_least(execution: Execution) -> None:
    with pytest.raises(QuarantineLimitError, match="At least 2 of 20 rows") as caught:
        finish(execution, result(0, n_quarantined=2, give_up_reason="too many"), result(1))
    assert "counting stopped early: too many" in caught.value.problems


def test_a_policy_of_error_allows_no_row(make_execution: Callable[..., Execution]) -> None:
    execution = make_execution(limits={"max_quarantined_share": 1.0}, policy={"missing": "error"})
    with pytest.raises(QuarantineLimitError, match="1 of 20 rows") as caught:
        finish(execution, result(0, n_quarantined=1), result(1))
    assert caught.value.expected == "no row: policy says error for missing"


def test_a_replay_has_the_limits_of_the_whole_partition(
    make_execution: Callable[..., Execution],
) -> None:
    execution = make_execution(limits={"max_quarantined_share": 0.1})
    source = SourceRows(job=execution.job, n_rows=200, from_quarantine=True)
    finish(execution, result(0, n_quarantined=10), result(1, n_quarantined=10), source=source)
    assert execution.record.manifest.counts.rows_quarantined == 20
