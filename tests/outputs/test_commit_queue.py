"""Publications that are ready at the same time share a commit; what becomes of one is no other's."""

import itertools
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from deltalake import DeltaTable

from nightscore.errors import ConflictError, LeaseError, ScoringError, StorageUnavailableError
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs import commit_queue
from nightscore.outputs.commit_queue import CommitQueue, Placed, Submission
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publication
from nightscore.runs.turn import Turn
from nightscore.schemas.job import ScoringJob
from nightscore.storage.run_cache import RunCache
from tests.support.lake import Lake
from tests.support.publications import publication, run_id

VALUES = ('it\'s, a "b"%41', "x=y z", "Ü")


def publish_at_once(
    job: ScoringJob, publications: Sequence[Publication], planned: Live | None = None
) -> list[Placed | ScoringError]:
    """The outcomes of publications that are submitted one after another, each by a thread."""
    cache = RunCache()
    turns: list[Turn] = []
    for _ in publications:
        turns.append(Turn(turns[-1] if turns else None))

    def publish(one: Publication, turn: Turn) -> Placed | ScoringError:
        in_order = replace(one, note_order=turn.pass_on, is_followed=turn.is_followed)
        turn.wait()
        try:
            return open_publisher(Workspace(job, cache)).publish(in_order, planned)
        except ScoringError as error:
            return error
        finally:
            turn.end()

    with ThreadPoolExecutor(len(turns)) as threads:
        return list(threads.map(publish, publications, turns))


def live_runs(job: ScoringJob) -> dict[str | None, str | None]:
    """Partition to the run that readers see."""
    live = open_publisher(Workspace(job)).all_live()
    return {value: one.run_id for value, one in live.items()}


@pytest.fixture
def job(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> ScoringJob:
    """Of a table in which the partition `other` is published."""
    monkeypatch.setattr(commit_queue, "PATIENCE_S", 60.0)
    job = lake.job()
    open_publisher(Workspace(job)).publish(publication(job, 1, "other"), None)
    return job


def test_partitions_that_are_ready_share_a_commit(job: ScoringJob) -> None:
    before = DeltaTable(job.output.uri).version()
    outcomes = publish_at_once(
        job, [publication(job, n, value) for n, value in enumerate(VALUES, 2)]
    )
    assert [outcome[1] for outcome in outcomes if isinstance(outcome, tuple)] == [before + 1] * 3
    ids = {value: run_id(n) for n, value in enumerate(VALUES, 2)}
    assert live_runs(job) == {"other": run_id(1)} | ids
    (newest,) = DeltaTable(job.output.uri).history(1)
    assert json.loads(newest["nightscore.partitions"]) == list(VALUES)
    assert json.loads(newest["nightscore.run_ids"]) == list(ids.values())


def test_the_first_of_a_table_share_one_too_and_one_without_value_has_its_own(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_queue, "PATIENCE_S", 60.0)
    job = lake.job()
    unnamed = replace(publication(job, 3, "__HIVE_DEFAULT_PARTITION__"), value=None)
    named = [publication(job, 1, "x"), publication(job, 2, "y")]
    outcomes = publish_at_once(job, [named[0], unnamed, named[1]])
    versions = [outcome[1] for outcome in outcomes if isinstance(outcome, tuple)]
    assert versions == [1, 2, 3]
    assert live_runs(job) == {"x": run_id(1), None: run_id(3), "y": run_id(2)}


def test_a_conflict_costs_its_own_partition_only(job: ScoringJob) -> None:
    def refuse() -> None:
        raise LeaseError("Another command has taken over the partition.")

    lost = replace(publication(job, 4, "lost"), check=refuse)
    taken, free = publication(job, 2, "other"), publication(job, 3, "free")
    outcomes = publish_at_once(job, [taken, lost, free])
    assert [type(outcome) for outcome in outcomes] == [ConflictError, LeaseError, tuple]
    assert live_runs(job) == {"other": run_id(1), "free": run_id(3)}


def test_a_shared_commit_whose_answer_is_lost_is_a_publication_of_each(
    job: ScoringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DeltaTable.create_write_transaction
    calls = itertools.count()

    def applied_then_lost(self: DeltaTable, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        next(calls)
        raise OSError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", applied_then_lost)
    outcomes = publish_at_once(job, [publication(job, n, f"day {n}") for n in (2, 3)])
    assert all(isinstance(outcome, tuple) for outcome in outcomes)
    assert next(calls) == 1
    assert set(live_runs(job).values()) == {run_id(n) for n in (1, 2, 3)}


def test_a_commit_that_is_refused_is_tried_for_each_alone(
    job: ScoringJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DeltaTable.create_write_transaction

    def refuse_bad(self: DeltaTable, actions: list[Any], **options: Any) -> None:
        if any("bad" in action.path for action in actions):
            raise OSError("connection reset")
        real(self, actions, **options)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse_bad)
    monkeypatch.setattr("nightscore.outputs.delta_publisher.RETRY_PAUSE_S", 0.0)
    days = ("good", "bad", "well")
    outcomes = publish_at_once(job, [publication(job, n, day) for n, day in enumerate(days, 2)])
    assert [type(outcome) for outcome in outcomes] == [tuple, StorageUnavailableError, tuple]
    assert live_runs(job) == {"other": run_id(1), "good": run_id(2), "well": run_id(4)}


@pytest.mark.parametrize("ends", ["submits", "fails"])
def test_a_commit_waits_for_who_follows_until_that_one_has_submitted_or_ended(
    ends: str, job: ScoringJob
) -> None:
    first, second = (publication(job, n, f"day {n}") for n in (2, 3))
    turn = Turn()
    after = Turn(turn)
    batches: list[int] = []
    queue = CommitQueue()

    def commit_all(batch: Sequence[Submission]) -> None:
        batches.append(len(batch))
        for submission in batch:
            submission.publish(7)

    def submit(one: Publication, own: Turn) -> Placed:
        in_order = replace(one, note_order=own.pass_on, is_followed=own.is_followed)
        return queue.commit(Submission(in_order, None), commit_all)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(submit, first, turn)
        after.wait()
        assert not waiting.done()
        follow: Callable[[], object] = after.end
        if ends == "submits":
            follow = lambda: submit(second, after)  # noqa: E731
        follow()
        assert waiting.result(60)[1] == 7
    assert batches == [2 if ends == "submits" else 1]


def test_an_error_of_the_commit_is_told_to_each_and_nothing_is_left(job: ScoringJob) -> None:
    queue = CommitQueue()

    def commit_all(batch: Sequence[Submission]) -> None:
        raise KeyboardInterrupt

    for n in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            queue.commit(Submission(publication(job, n, f"day {n}"), None), commit_all)
    seen: list[int] = []

    def settle(batch: Sequence[Submission]) -> None:
        seen.append(len(batch))
        batch[0].publish(1)

    queue.commit(Submission(publication(job, 4, "day 4"), None), settle)
    assert seen == [1]
