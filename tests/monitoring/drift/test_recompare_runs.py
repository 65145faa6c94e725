"""Comparisons say the same whatever order the partitions were computed in."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nightscore.errors import StorageError, WorkerError
from nightscore.ledger.comparison_records import newest_comparison, with_newest_comparison
from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import comparison_path, state_store
from nightscore.ledger.manifest_files import (
    list_manifests,
    write_manifest,
)
from nightscore.ledger.timeline import Timeline, earlier_values
from nightscore.ledger.workspace import Workspace
from nightscore.monitoring.drift import compare_ahead, recompare_runs
from nightscore.monitoring.drift.compare_ahead import ComparedAhead, RunToCompare
from nightscore.monitoring.drift.neighbours import Neighbours
from nightscore.monitoring.drift.recompare_runs import compare_later
from nightscore.monitoring.drift.statistics_table import read_statistics
from nightscore.operations.backfill import plan_backfill
from nightscore.operations.backfill_runner import score_items
from nightscore.operations.baseline import record_baseline
from nightscore.operations.column_history import column_series
from nightscore.operations.report import newest_report, read_report, reported_run
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import order_of
from tests.cli.test_commands import answer, nightscore, save
from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame

DAYS = [f"2024-03-{day:02d}" for day in range(1, 11)]
NOW = datetime(2024, 4, 1, tzinfo=UTC)


def a_day(place: int) -> pd.DataFrame:
    """A column that drifts from the third day to the sixth, another one from the fifth on, and a small day."""
    frame = make_frame(200 if place == 7 else 1_200, seed=30 + place)
    if 2 <= place <= 5:
        frame["a"] += 2
    if place >= 4:
        frame["b"] -= 1.5
    return frame


@pytest.fixture
def ten(lake: Lake, registry_root: Path, tmp_path: Path) -> Lake:
    """Ten days of input, and a model version with a baseline."""
    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    for place, day in enumerate(DAYS):
        lake.write(day, a_day(place))
    path = Path(lake.root) / "training.parquet"
    make_frame(8_000, seed=1).to_parquet(path)
    record_baseline(lake.job(), str(path), lake.pool, lake.cache)
    return lake


def into(lake: Lake, name: str, **changes: Any) -> ScoringJob:
    """A job over the same input, with results of its own."""
    return lake.job(output={"uri": f"{lake.root}/{name}", "format": "parquet"}, **changes)


def results(job: ScoringJob, days: Sequence[str] = DAYS) -> list[Manifest]:
    """The run that stands of each day, with its own comparison."""
    manifests = [PartitionHistory(Workspace(job), day).latest()[0] for day in days]
    return [manifest for manifest in manifests if manifest is not None]


def newest(job: ScoringJob, days: Sequence[str] = DAYS) -> list[DriftRecord]:
    comparisons = [newest_comparison(state_store(job), manifest) for manifest in results(job, days)]
    return [drift for drift in comparisons if drift is not None]


def told(job: ScoringJob) -> list[dict[str, Any]]:
    """What the newest comparisons say, without names of runs and files; references must be what stands now."""
    run_ids = {manifest.partition: manifest.run_id for manifest in results(job)}
    results_told = []
    for day, drift in zip(DAYS, newest(job), strict=True):
        for name, days in drift.days.items():
            assert drift.references[name] == ", ".join(run_ids[other] for other in days), (
                day,
                name,
            )
        assert drift.habit_runs == {other: run_ids[other] for other in drift.habit_runs}
        apart = {
            "references",
            "neighbours",
            "made_at",
            "cpu_share",
            "profile",
            "table",
            "habit_runs",
        }
        one = drift.model_dump(exclude=apart) | {
            "names": [*drift.references],
            "habits": sorted(drift.habit_runs),
        }
        results_told.append(one)
    return results_told


def clear_findings(job: ScoringJob) -> list[list[tuple[Any, ...]]]:
    """Of the columns that have drifted beyond any doubt: their figures depend on the bins, their findings do not."""
    return [
        [
            (f.role, f.column, f.reference, f.status, f.since, f.was)
            for f in drift.findings
            if f.column in ("a", "b")
        ]
        for drift in newest(job)
    ]


def statistics(job: ScoringJob) -> list[list[tuple[Any, ...]]]:
    """The newest comparisons' tables, in an order of their own."""
    tables = []
    for manifest in results(job):
        rows = read_statistics(job, with_newest_comparison(state_store(job), manifest))
        tables.append(
            sorted(tuple(v for k, v in row.items() if k != "run_id") for row in rows if row).copy()
        )
    return tables


def in_order(lake: Lake, name: str, **changes: Any) -> ScoringJob:
    job = into(lake, name, **changes)
    for day in DAYS:
        assert lake.run(job, day).status == "published"
    return job


def reversed_days(lake: Lake, job: ScoringJob) -> None:
    for day in reversed(DAYS):
        lake.run(job, day)


def shuffled_days(lake: Lake, job: ScoringJob) -> None:
    days = [*DAYS]
    random.Random(3).shuffle(days)
    for day in days:
        lake.run(job, day)


def a_backfill(lake: Lake, job: ScoringJob) -> None:
    """Newest first, as its default is: two under way at once, and compared again at its end."""
    plan = plan_backfill(job, lake.cache, DAYS)
    assert plan.to_score[0].value == DAYS[-1]
    score_items(job, plan.to_score, lake.cache)


def with_a_day_again(lake: Lake, job: ScoringJob) -> None:
    """A day is computed again in the middle of it, from other rows than it has in the end."""
    lake.write(DAYS[4], make_frame(1_200, seed=99).assign(a=9.0))
    for day in (*DAYS[:8], DAYS[4]):
        lake.run(job, day, force=True)
    lake.write(DAYS[4], a_day(4))
    for day in (DAYS[4], *DAYS[8:]):
        lake.run(job, day)


def with_a_rollback(lake: Lake, job: ScoringJob) -> None:
    for day in DAYS:
        lake.run(job, day)
    lake.write(DAYS[3], make_frame(1_200, seed=98).assign(a=-9.0))
    lake.run(job, DAYS[3])
    lake.write(DAYS[3], a_day(3))
    (item,) = plan_rollback(job, [DAYS[3]])
    assert item.target is not None
    back = roll_back(job, DAYS[3], item.target, item.live_run_id, datetime.now(UTC), lake.cache)
    assert back.status == "published"


ORDERS = [reversed_days, shuffled_days, a_backfill, with_a_day_again, with_a_rollback]


def test_ten_days_say_the_same_in_any_order(ten: Lake) -> None:
    job = in_order(ten, "in_order")
    expected, expected_statistics = told(job), statistics(job)
    assert not state_store(job).list_files("comparisons"), "in order nothing is compared again"
    a = [
        [(f.severity, f.status, f.since, f.was) for f in d.findings if f.column == "a"]
        for d in newest(job)
    ]
    assert a[2][0] == ("critical", "new", DAYS[2], None)
    assert a[5][0] == ("critical", "ongoing", DAYS[2], "critical")
    assert "a" in newest(job)[6].resolved
    assert [d.days.get("previous") for d in newest(job)] == [None, *((day,) for day in DAYS[:-1])]

    for compute in ORDERS:
        other = into(ten, compute.__name__)
        manifests = _manifests_then(compute, ten, other)
        assert told(other) == expected, compute.__name__
        assert statistics(other) == expected_statistics, compute.__name__
        assert manifests == _stored(other), "records of runs are not written again"


def _manifests_then(
    compute: Callable[[Lake, ScoringJob], None], lake: Lake, job: ScoringJob
) -> dict[str, str]:
    """Compute, then each run's record as it was."""
    written: dict[str, str] = {}
    compute(lake, job)
    written |= _stored(job)
    compare_later(Workspace(job), DAYS, lake.cache, NOW)
    return written


def _stored(job: ScoringJob) -> dict[str, str]:
    return {m.run_id: m.model_dump_json() for m in list_manifests(state_store(job))[0]}


def test_without_a_baseline_days_are_comparable_in_any_order(lake: Lake) -> None:
    for place, day in enumerate(DAYS):
        lake.write(day, a_day(place))
    job = in_order(lake, "in_order")
    expected, days = clear_findings(job), [drift.days for drift in newest(job)]
    for compute in (reversed_days, a_backfill):
        other = into(lake, compute.__name__)
        compute(lake, other)
        assert not any(drift.errors for drift in newest(other)), (
            "all are counted over the same bins"
        )
        assert clear_findings(other) == expected, compute.__name__
        assert [drift.days for drift in newest(other)] == days


def test_a_later_neighbour_changes_what_is_shown_and_nothing_else(
    ten: Lake, tmp_path: Path
) -> None:
    job = ten.job(drift={"gate": "hold"})
    early, held = ten.run(job, DAYS[0]), ten.run(job, DAYS[3])
    assert early.status == "published"
    assert held.status == "held"
    assert held.drift
    assert held.drift.days["previous"] == (DAYS[0],), "the day that it was compared with is named"
    before = _stored(job)

    drifted = ten.run(ten.job(drift={"gate": "off"}), DAYS[2])

    assert drifted.status == "published"
    assert {run_id: _stored(job)[run_id] for run_id in before} == before
    assert ten.run(job, DAYS[3]).status == "held"
    again = newest_comparison(state_store(job), held)
    assert again
    assert again.days["previous"] == (DAYS[2],)
    assert again.made_at
    (a,) = [f for f in again.findings if (f.role, f.column) == ("feature", "a")]
    assert (a.status, a.since, a.was) == ("ongoing", DAYS[2], "critical")
    page = read_report(job, newest_report(job, reported_run(job, DAYS[3]), ten.cache), ten.cache)
    assert f"previous ({DAYS[2]})" in page
    assert "Compared again at" in page
    series = column_series(job, "a", 3)
    assert series
    assert [day.compared_at is not None for day in series] == [False, False, True]
    path = str(save(job, tmp_path))
    shown = nightscore(ten, "report", path, DAYS[3])
    assert f"previous ({DAYS[2]})" in shown.stdout
    assert "Compared again at" in shown.stdout
    assert answer(ten, "report", path, DAYS[3])["made_at"]
    assert "compared again (UTC)" in nightscore(ten, "history", path, "a").stdout


def test_records_of_older_versions_are_compared_when_they_are_asked_for(ten: Lake) -> None:
    job = ten.job()
    ten.run(job, DAYS[2], compares_later=False)
    ten.run(job, DAYS[1], compares_later=False)
    state, fields = state_store(job), {"days": {}, "habit_runs": {}, "neighbours": ""}
    for manifest in results(job):
        assert manifest.drift
        old = manifest.model_copy(update={"drift": manifest.drift.model_copy(update=fields)})
        write_manifest(state, f"ds={manifest.partition}", old)
    first, second = results(job)
    assert newest_report(job, first, ten.cache) == first, "nothing has changed around it"
    drift = newest_report(job, second, ten.cache).drift
    assert drift
    assert drift.days["previous"] == (DAYS[1],)
    assert newest_comparison(state, second) == drift
    state.write_bytes(comparison_path(f"ds={DAYS[2]}", second.run_id), b"damaged")
    assert newest_report(job, second, ten.cache).drift == drift.model_copy(
        update={"made_at": newest(job, [DAYS[2]])[0].made_at}
    )


def test_what_goes_wrong_costs_no_publication(
    ten: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a defect")

    job = ten.job()
    late = ten.run(job, DAYS[2])
    monkeypatch.setattr(recompare_runs, "assess_again", fail)
    monkeypatch.setattr("nightscore.monitoring.drift.recompare_runs.logger.propagate", True)
    assert ten.run(job, DAYS[1]).status == "published"
    assert (
        "later partitions could not be compared again: ZeroDivisionError: a defect" in caplog.text
    )
    monkeypatch.undo()
    assert newest(job, [DAYS[2]]) == [late.drift]


def test_stopping_a_comparison_does_not_say_that_nothing_was_published(
    ten: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    job = ten.job()
    ten.run(job, DAYS[2])
    monkeypatch.setattr(recompare_runs, "assess_again", stop)
    assert ten.run(job, DAYS[1]).status == "published"


def test_a_profile_that_is_gone_leaves_the_comparison_that_there_is(ten: Lake) -> None:
    job = ten.job()
    late = ten.run(job, DAYS[2])
    assert late.drift
    state_store(job).delete([late.drift.profile])
    assert ten.run(job, DAYS[0]).status == "published"
    assert newest(job, [DAYS[2]]) == [late.drift]


def test_a_backfill_compares_each_day_once(ten: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str | None] = []
    real = recompare_runs.write_comparison

    def counted(store: Any, manifest: Manifest, *rest: Any) -> None:
        written.append(manifest.partition)
        real(store, manifest, *rest)

    monkeypatch.setattr(recompare_runs, "write_comparison", counted)
    job = ten.job()
    a_backfill(ten, job)
    assert written == DAYS[1:], "the first day has nothing before it"
    assert compare_later(Workspace(job), DAYS, ten.cache, NOW) == 0


class HerePool:
    """Calls functions in this process. After some calls its workers are gone."""

    is_local = True

    def __init__(self, n_calls: int = 1_000) -> None:
        self.n_calls, self._n_left = 0, n_calls

    def call(self, function: Callable[..., Any], *arguments: object, timeout_s: float) -> Any:
        assert timeout_s
        if self.n_calls >= self._n_left:
            raise WorkerError("Its workers died.", "here")
        self.n_calls += 1
        return function(*arguments)


def all_comparisons(job: ScoringJob) -> dict[str, bytes]:
    """The files of all later comparisons."""
    state = state_store(job)
    return {entry.path: state.read_bytes(entry.path) for entry in state.list_files("comparisons")}


def test_workers_compare_ahead_to_the_same_bytes(
    ten: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ten.job()
    for day in reversed(DAYS):
        ten.run(job, day, compares_later=False)

    assert compare_later(Workspace(job), DAYS, ten.cache, NOW) == len(DAYS) - 1
    expected = all_comparisons(job)
    findings = [finding for drift in newest(job) for finding in drift.findings]
    assert {finding.status for finding in findings} == {"new", "ongoing"}

    for module in (compare_ahead, recompare_runs):
        monkeypatch.setattr(module, "BLOCK_RUNS", 2)
    monkeypatch.setattr(compare_ahead, "BLOCKS_AHEAD", 1)
    real, compared_here = recompare_runs.assess_again, list[str]()
    monkeypatch.setattr(
        recompare_runs, "assess_again", lambda *a: compared_here.append("") or real(*a)
    )

    for pools, n_here in (
        ([HerePool()], 0),
        ([HerePool(), HerePool()], 0),
        ([HerePool(2)], 5),
        ([HerePool(0), HerePool(0)], 9),
    ):
        state_store(job).delete_tree("comparisons")
        compared_here.clear()
        n_compared = compare_later(Workspace(job), DAYS, ten.cache, NOW, pools=pools)
        assert n_compared == len(DAYS) - 1
        assert len(compared_here) == n_here, "the others were compared ahead"
        assert all_comparisons(job) == expected

    pool = HerePool()
    assert compare_later(Workspace(job), DAYS, ten.cache, NOW, pools=[pool]) == 0
    assert pool.n_calls == 0, "what holds is not compared"


def test_little_is_compared_by_the_driver_alone(ten: Lake) -> None:
    job = ten.job()
    for day in reversed(DAYS[:3]):
        ten.run(job, day, compares_later=False)
    pool = HerePool()
    assert compare_later(Workspace(job), DAYS[:3], ten.cache, NOW, pools=[pool]) == 2
    assert pool.n_calls == 0, "a worker that compares imports what that needs"


def test_what_was_compared_ahead_with_other_neighbours_is_not_taken(ten: Lake) -> None:
    manifest = ten.run(ten.job(), DAYS[0])
    run = RunToCompare(manifest=manifest, neighbours=Neighbours(), baseline=None)
    ahead = ComparedAhead(Timeline(Workspace(ten.job())), [HerePool()], [run])
    try:
        assert ahead.take(manifest, Neighbours(habit_runs={DAYS[1]: "another"})) is None
        assert ahead.take(manifest, Neighbours()) is not None
        assert ahead.take(manifest, Neighbours()) is None, "it is handed over once"
    finally:
        ahead.close()


def test_a_comparison_that_cannot_be_written_ends_them_and_is_told(
    ten: Lake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise StorageError("The disk is full.", "x")

    job = ten.job()
    ten.run(job, DAYS[1])
    with monkeypatch.context() as patched:
        patched.setattr(recompare_runs, "write_comparison", refuse)
        assert ten.run(job, DAYS[0]).status == "published"
    assert "later partitions could not be compared again: The disk is full." in caplog.text

    assert compare_later(Workspace(job), DAYS[:1], ten.cache, NOW) == 1


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ("%d.%m.%Y", ["28.02.2024", "01.03.2024", "02.01.2025"]),
        ("%-d-%-m-%Y", ["9-3-2024", "10-3-2024", "1-11-2024"]),
        ("%Y-%m-%d", ["2024-02-29", "2024-03-01", "9", "10", "100", "a", "b"]),
    ],
)
def test_partitions_are_in_the_order_of_dates_and_numbers(
    lake: Lake, pattern: str, values: list[str]
) -> None:
    shuffled = sorted(values)
    assert sorted(shuffled, key=lambda value: order_of(value, pattern)) == values
    job = lake.job(input={"uri": lake.features.uri, "partition_format": pattern})
    for value in shuffled:
        state_store(job).write_bytes(f"runs/ds={value}/x.json", b"{}")
    assert earlier_values(Workspace(job), values[-1]) == values[-2::-1]
