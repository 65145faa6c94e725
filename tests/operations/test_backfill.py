"""A backfill's plan is a pure function of dates, states and modes; what it plans is what it runs."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightscore.errors import InvalidJobError
from nightscore.ledger.run_summaries import summarize
from nightscore.operations.backfill import (
    DEFAULT_MODES,
    BackfillItem,
    BackfillPlan,
    choose,
    choose_models,
    dates_between,
    parse_modes,
    parse_order,
    plan_backfill,
    values_between,
)
from nightscore.operations.experience import experience_of
from nightscore.operations.partitions import PartitionStatus
from nightscore.runs.run import run
from tests.support.lake import Lake
from tests.support.models import make_frame

STATES = ["published", "missing", "stale", "failed", "input gone"]
MODES = ["missing", "failed", "stale", "all"]


def status(value: str, state: str, has_input: bool = True) -> PartitionStatus:
    return PartitionStatus(
        value=value,
        state=state,  # type: ignore[arg-type]
        reasons=("because",),
        has_input=has_input,
        n_files=1,
        n_bytes=10,
        run_id=None,
        rows=None,
        model_version=None,
    )


@given(
    st.lists(st.sampled_from([*STATES, None]), max_size=40),
    st.sets(st.sampled_from(MODES)),
    st.sampled_from(["newest", "oldest"]),
)
def test_every_date_is_decided_once_in_the_order_asked_for(
    states: list[str | None], modes: set[str], order: str
) -> None:
    values = [str(date(2024, 1, 1) + timedelta(days=i)) for i in range(len(states))]
    known = {v: status(v, s) for v, s in zip(values, states, strict=True) if s}
    plan = choose(values, known, modes, order)  # type: ignore[arg-type]
    assert [item.value for item in plan.items] == (values if order == "oldest" else values[::-1])
    for item in plan.items:
        state = known[item.value].state if item.value in known else None
        if state in (None, "input gone"):
            assert item.action == "no input"
        else:
            assert (item.action == "score") is ("all" in modes or state in modes)
        assert item.is_forced is (item.action == "score" and state == "published")


@given(st.dates(date(1990, 1, 1), date(2060, 1, 1)), st.integers(0, 800))
def test_dates_have_no_gap_and_no_double(start: date, n_days: int) -> None:
    days = dates_between(start, start + timedelta(days=n_days))
    assert len(set(days)) == len(days) == n_days + 1
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


def test_leap_day_and_years_end(lake: Lake) -> None:
    assert values_between(lake.job(), date(2024, 2, 28), date(2024, 3, 1)) == [
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
    ]
    assert values_between(lake.job(), date(2023, 12, 31), date(2024, 1, 1)) == [
        "2023-12-31",
        "2024-01-01",
    ]


def test_a_monthly_partition_is_planned_once(lake: Lake) -> None:
    job = lake.job(input={"uri": "x", "partition_format": "%Y-%m"})
    assert values_between(job, date(2024, 1, 15), date(2024, 3, 2)) == [
        "2024-01",
        "2024-02",
        "2024-03",
    ]


@pytest.mark.parametrize(
    ("pattern", "n_values", "last"),
    [
        ("%Y-%m-%dT%H", 48, "2024-03-01T23"),
        ("%Y%m%d-%H%M", 2_880, "20240301-2359"),
        ("%Y-%m-%d %H:00", 48, "2024-03-01 23:00"),
    ],
)
def test_all_partitions_of_a_day_are_planned(
    lake: Lake, pattern: str, n_values: int, last: str
) -> None:
    job = lake.job(input={"uri": "x", "partition_format": pattern})
    values = values_between(job, date(2024, 2, 29), date(2024, 3, 1), max_partitions=n_values)
    assert (len(set(values)), values[-1]) == (n_values, last)
    with pytest.raises(InvalidJobError, match=f"{n_values}, .* to {last}"):
        values_between(job, date(2024, 2, 29), date(2024, 3, 1), max_partitions=n_values - 1)


def test_nonsense_is_refused_with_the_reason(lake: Lake) -> None:
    with pytest.raises(InvalidJobError, match="ends before it starts"):
        dates_between(date(2024, 1, 2), date(2024, 1, 1))
    with pytest.raises(
        InvalidJobError, match=r"confirm with max_partitions = 731 \(--max-partitions\)"
    ):
        values_between(lake.job(), date(2023, 1, 1), date(2024, 12, 31))
    with pytest.raises(InvalidJobError, match="Unknown mode"):
        parse_modes(["mising"])
    with pytest.raises(InvalidJobError, match="write --mode stale --mode missing"):
        parse_modes(["stale,missing"])
    with pytest.raises(InvalidJobError, match="write the number alone: --model 2"):
        choose_models(lake.job(), ["2024-01-01"], "v2", [])
    with pytest.raises(InvalidJobError, match="Unknown order"):
        parse_order("random")
    with pytest.raises(InvalidJobError, match="Unknown model for a backfill"):
        choose_models(lake.job(), ["2024-01-01"], "yesterday", [])


def test_a_version_of_a_logged_model_is_refused(lake: Lake) -> None:
    model_id = f"m-{'0' * 32}"
    job = lake.job(f"models:/{model_id}")
    assert choose_models(job, ["2024-01-01"], "current", []) == {"2024-01-01": job.model}
    with pytest.raises(InvalidJobError, match="a logged model, which has no versions"):
        choose_models(job, ["2024-01-01"], "3", [])


def test_as_of_takes_the_version_of_the_last_run_by_then(lake: Lake) -> None:
    lake.write("2024-03-01", make_frame(5))
    job = lake.job()
    base = lake.run(job, "2024-03-01")
    versions = [("2", datetime(2024, 3, 5, tzinfo=UTC)), ("1", datetime(2024, 3, 1, tzinfo=UTC))]
    history = [
        summarize(base).model_copy(update={"started_at": at, "model_version": version})
        for version, at in versions
    ]
    chosen = choose_models(job, ["2024-03-04", "2024-03-05", "2024-03-09"], "as-of", history)
    assert list(chosen.values()) == [f"models:/hgb_binary/{v}" for v in ("1", "2", "2")]
    with pytest.raises(InvalidJobError, match="2024-02-28"):
        choose_models(job, ["2024-02-28"], "as-of", history)


def test_a_partition_is_skipped_with_the_mode_that_would_score_it() -> None:
    states = {state: status(state, state) for state in STATES}
    skipped = choose([*states], states, ["missing"], "oldest").items
    reasons = {item.value: item.reason for item in skipped if item.action == "skip"}
    assert reasons == {
        "published": "because",
        "stale": "stale, and --mode stale was not asked for: because",
        "failed": "failed, and --mode failed was not asked for: because",
    }


BEGAN = datetime(2026, 11, 24, 3, tzinfo=UTC)


def took(n_rows: int, run_s: float, startup_s: float = 0.0) -> Any:
    return SimpleNamespace(
        status="published",
        restores=None,
        replays=None,
        rows_in=n_rows,
        startup_s=startup_s,
        total_s=run_s + 5.0,
        waited_s=5.0,
        started_at=BEGAN,
        finished_at=None,
    )


def test_an_estimate_is_what_like_runs_took_or_none() -> None:
    runs = [took(100, 9.0, 2.0), took(120, 1.0), took(90, 1.4), took(110, 11.0, 4.0)]
    experience = experience_of([took(0, 500.0), *runs, took(9_000, 60.0)])
    assert experience.startup_s() == 3.0
    assert experience.run_s(100, is_first=True) == 10.0
    assert experience.run_s(100, is_first=False) == pytest.approx(1.2)
    assert experience.run_s(5_000, is_first=True) == 60.0, "the only one of about as many rows"
    assert experience.run_s(1_000, is_first=False) is None, "nothing like it has run"
    assert experience.run_s(None, is_first=False) is None
    assert experience_of([]).run_s(100, is_first=True) is None


def test_an_estimate_divides_the_time_of_runs_that_were_under_way_at_once() -> None:
    overlapping = []
    for n_seconds in range(8):
        run = took(100, 4.0)
        run.waited_s = 1.0
        run.started_at = BEGAN + timedelta(seconds=n_seconds)
        run.finished_at = run.started_at + timedelta(seconds=4)
        overlapping.append(run)

    taken_s = [one.run_s for one in experience_of(overlapping).runs]
    assert sum(taken_s) == pytest.approx(11.0), "from the first run's start to the last one's end"
    assert 1.0 <= (experience_of(overlapping).run_s(100, is_first=False) or 0.0) <= 11 / 8

    alone = took(100, 4.0, startup_s=2.0)
    alone.finished_at = BEGAN + timedelta(seconds=9)
    assert experience_of([alone, *overlapping]).run_s(100, is_first=True) == 4.0


def test_an_estimate_has_the_start_up_once_and_leaves_out_what_is_not_known() -> None:
    item = BackfillItem("a", "score", "", n_rows=10, estimated_s=4.0)
    unread = replace(item, n_rows=None, estimated_s=None)
    strange = replace(item, estimated_s=None)
    assert BackfillPlan((item, item, unread), 3.0).estimated_s() == 11.0
    assert BackfillPlan((item, item), 3.0).estimated_s(2) == 7.0
    assert BackfillPlan((item, strange), 3.0).estimated_s() is None
    assert BackfillPlan((unread,)).estimated_s() is None


def test_a_plan_says_rows_bytes_and_reasons_and_is_what_runs(any_lake: Lake) -> None:
    for i in range(5):
        any_lake.write(f"2024-03-0{i + 1}", make_frame(100 + i, seed=i))
    any_lake.features.write_bytes("ds=2024-03-03/part-0.parquet", b"broken")
    job = any_lake.job()
    any_lake.run(job, "2024-03-01")
    values = values_between(job, date(2024, 2, 29), date(2024, 3, 5))

    plan = plan_backfill(job, any_lake.cache, values, DEFAULT_MODES, "oldest")

    actions = {item.value: (item.action, item.n_rows) for item in plan.items}
    assert actions == {
        "2024-02-29": ("no input", None),
        "2024-03-01": ("skip", None),
        "2024-03-02": ("score", 101),
        "2024-03-03": ("score", None),
        "2024-03-04": ("score", 103),
        "2024-03-05": ("score", 104),
    }
    assert plan.n_rows == 308
    assert plan.n_bytes > 0
    assert (plan.estimated_s() or 0) > 0
    outcomes = {}
    for item in plan.to_score:
        pinned = job.model_copy(update={"model": item.model})
        done = run(
            pinned, item.value, pool=any_lake.pool, cache=any_lake.cache, now=datetime.now(UTC)
        )
        outcomes[item.value] = (done.status, done.counts.rows_in)
    assert outcomes["2024-03-03"] == ("failed", 0)
    assert {v: o for v, o in outcomes.items() if v != "2024-03-03"} == {
        "2024-03-02": ("published", 101),
        "2024-03-04": ("published", 103),
        "2024-03-05": ("published", 104),
    }
    again = plan_backfill(job, any_lake.cache, values, DEFAULT_MODES)
    assert [item.value for item in again.to_score] == ["2024-03-03"]
    assert "the last run failed" in again.to_score[0].reason
