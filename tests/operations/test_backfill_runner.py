"""A backfill's partitions are scored two at once where they are small, and all the same as if one after another."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

import nightscore.operations.backfill_runner
from nightscore.engine.backends.local import WorkerPool
from nightscore.operations.backfill import BackfillItem, plan_backfill
from nightscore.operations.backfill_runner import (
    SMALL_ROWS,
    SWITCH_S,
    UNDER_WAY,
    may_overlap,
    score_items,
)
from nightscore.runs.turn import Turn
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.support.lake import Lake
from tests.support.models import make_frame

DAYS = [f"2024-03-{i:02}" for i in range(1, 10)]


def item(value: str, n_rows: int | None = 10) -> BackfillItem:
    return BackfillItem(value, "score", "because", "models:/m/1", n_rows=n_rows)


def newest_first(n_rows: int | None = 10) -> list[BackfillItem]:
    return [item(day, n_rows) for day in reversed(DAYS)]


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightscore.operations.backfill_runner, "available_cores", lambda: 2)


def test_only_small_partitions_that_are_not_compared_overlap(
    lake: Lake, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, late, early = lake.job(), item(DAYS[1]), item(DAYS[0])
    assert may_overlap(job, late, early)
    assert not may_overlap(job, early, late), "it is compared with the one before"
    assert not may_overlap(job, late, item(DAYS[0], SMALL_ROWS + 1))
    assert not may_overlap(job, item(DAYS[1], None), early), "nobody knows how many rows"
    assert not may_overlap(lake.job(limits={"memory_bytes": 4 << 30}), late, early)
    assert not may_overlap(lake.job(workers={"count": 1}), late, early)
    assert not may_overlap(
        lake.job(workers={"backend": "dask", "address": "tcp://x:1"}), late, early
    )
    monkeypatch.setattr(nightscore.operations.backfill_runner, "available_cores", lambda: 1)
    assert not may_overlap(job, late, early)


class Runs:
    """Stands in for `run`: says when a run begins, is planned, publishes."""

    def __init__(
        self, manifest: Manifest, act: Callable[[str], object] = lambda value: None
    ) -> None:
        self.told: list[tuple[str, str]] = []
        self.n_now = self.n_most = 0
        self._manifest, self._act = manifest, act
        self._lock = threading.Lock()

    def tell(self, what: str, value: str, step: int = 0) -> None:
        with self._lock:
            self.told.append((what, value))
            self.n_now += step
            self.n_most = max(self.n_most, self.n_now)

    def __call__(
        self,
        job: ScoringJob,
        value: str,
        *,
        pool: WorkerPool,
        turn: Turn | None = None,
        **options: Any,
    ) -> Manifest:
        turn = turn or Turn()
        self.tell("begins", value)
        time.sleep(0.01)
        self.tell("is planned", value)
        turn.note_plan()
        turn.take_workers()
        self.tell("is scored", value, 1)
        time.sleep(0.001 if value in DAYS[::2] else 0.02)
        try:
            self._act(value)
        finally:
            self.tell("was scored", value, -1)
        turn.leave_workers()
        turn.wait()
        self.tell("publishes", value)
        turn.pass_on()
        time.sleep(0.01)
        self.tell("ends", value)
        return self._manifest.model_copy(update={"partition": value})

    def order(self, what: str) -> list[str]:
        return [value for told, value in self.told if told == what]


@pytest.fixture
def manifest(lake: Lake) -> Manifest:
    lake.write(DAYS[0], make_frame(10))
    return lake.run(lake.job(), DAYS[0])


def test_two_at_once_begin_and_publish_in_the_plan_s_order(
    lake: Lake, manifest: Manifest, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = threading.Event()

    def act(value: str) -> None:
        if value == DAYS[4]:
            assert third.wait(60), "the next one did not begin"
        elif value == DAYS[3]:
            third.set()

    runs, items = Runs(manifest, act), newest_first()
    monkeypatch.setattr(nightscore.operations.backfill_runner, "run", runs)
    manifests = score_items(lake.job(), items, lake.cache)
    values = [one.value for one in items]
    assert [one.partition for one in manifests] == values
    assert all(runs.order(what) == values for what in ("begins", "is planned", "publishes"))
    assert runs.n_most == 2
    place = {told: index for index, told in enumerate(runs.told)}
    assert place["ends", values[0]] < place["begins", values[1]], "it compiles what the others load"
    for before, after in pairwise(values):
        assert place["is planned", before] < place["begins", after], (
            "it has found what it is compared with"
        )
        assert place["publishes", before] < place["publishes", after]
    for before, after in zip(values, values[UNDER_WAY:], strict=False):
        assert place["ends", before] < place["begins", after], "not too many are under way"


@pytest.mark.parametrize(
    "items", [newest_first(SMALL_ROWS + 1), newest_first()[::-1]], ids=["large", "oldest first"]
)
def test_others_are_scored_one_after_another(
    lake: Lake,
    manifest: Manifest,
    two_cores: None,
    monkeypatch: pytest.MonkeyPatch,
    items: list[BackfillItem],
) -> None:
    runs = Runs(manifest)
    monkeypatch.setattr(nightscore.operations.backfill_runner, "run", runs)
    assert [one.partition for one in score_items(lake.job(), items, lake.cache)] == [
        one.value for one in items
    ]
    assert runs.n_most == 1


@pytest.mark.parametrize("error", [None, ValueError("a defect")], ids=["published", "failed"])
def test_threads_take_turns_quickly_while_runs_are_under_way(
    lake: Lake,
    manifest: Manifest,
    two_cores: None,
    monkeypatch: pytest.MonkeyPatch,
    error: ValueError | None,
) -> None:
    usual_s = sys.getswitchinterval()
    seen_s: set[float] = set()

    def act(value: str) -> None:
        seen_s.add(sys.getswitchinterval())
        if error is not None:
            raise error

    monkeypatch.setattr(nightscore.operations.backfill_runner, "run", Runs(manifest, act))
    failing = pytest.raises(ValueError, match="defect") if error else contextlib.nullcontext()
    with failing:
        score_items(lake.job(), newest_first()[:2], lake.cache)

    assert [*seen_s] == [pytest.approx(SWITCH_S)]
    assert sys.getswitchinterval() == usual_s


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ValueError("a defect")], ids=lambda error: type(error).__name__
)
def test_what_stops_one_stops_all_and_begins_no_more(
    lake: Lake,
    manifest: Manifest,
    two_cores: None,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def act(value: str) -> None:
        if value == DAYS[-3]:
            raise error

    stopped: list[WorkerPool] = []
    monkeypatch.setattr(WorkerPool, "stop", lambda self, reason="": stopped.append(self))
    runs = Runs(manifest, act)
    monkeypatch.setattr(nightscore.operations.backfill_runner, "run", runs)
    with pytest.raises(type(error)):
        score_items(lake.job(), newest_first(), lake.cache)
    assert len(set(map(id, stopped))) == 2
    assert runs.order("publishes") == [day for day in reversed(DAYS) if day in runs.order("ends")]
    assert DAYS[0] not in runs.order("begins")
    assert set(runs.order("begins")) - {DAYS[-3]} == set(runs.order("ends")), (
        "none is left under way"
    )


def test_a_year_s_end_is_scored_as_if_one_after_another(
    lake: Lake, two_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, day in enumerate(DAYS):
        lake.write(day, make_frame(200, seed=seed))
    lake.features.write_bytes(f"ds={DAYS[2]}/part-0.parquet", b"broken")
    job = lake.job()
    plan = plan_backfill(job, lake.cache, DAYS, ["all"])
    first = score_items(job, plan.to_score, lake.cache)
    assert [one.partition for one in first] == DAYS[::-1]
    assert [one.status for one in first] == ["published"] * 6 + ["failed"] + ["published"] * 2
    lake.write(DAYS[2], make_frame(200, seed=2))
    plan = plan_backfill(job, lake.cache, DAYS, ["all"])
    second = score_items(job, plan.to_score, lake.cache)
    assert {one.status for one in second} == {"published"}
    before = {one.partition: one for one in first if one.status == "published"}
    for later, one in zip(DAYS[:0:-1], second, strict=False):
        assert one.partition == later
        assert one.drift
        earlier = next(day for day in reversed(DAYS[: DAYS.index(later)]) if day in before)
        assert one.drift.references["previous"] == before[earlier].run_id
        assert one.started_at <= datetime.now(UTC)
    versions = [one.output.table_version or 0 for one in second]
    assert versions == sorted(versions)
    assert len(lake.read(job)) == 200 * len(DAYS)
