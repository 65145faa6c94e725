"""Shards go to the workers once, and again where a compiled predictor cannot be trusted."""

import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nightscore.engine import row_counts
from nightscore.engine.events import RowsScored, RunPlanned, ShardLost, ShardScored
from nightscore.engine.retry import MAX_ATTEMPTS
from nightscore.engine.shard import ShardResult, ShardTask
from nightscore.runs.dispatch import make_tasks, score_shards
from nightscore.runs.execution import Execution
from nightscore.runs.run_plan import RunPlan, SourceRows
from nightscore.schemas.manifest import PredictorRecord
from tests.runs.conftest import result, run_plan

COMPILED = PredictorRecord(engine="compiled")
DIFFERED = PredictorRecord(has_differed=True)


class Workers:
    """Answer with results that the test has prepared, and remember the tasks."""

    def __init__(self, *answers: list[ShardResult]) -> None:
        self.answers = iter(answers)
        self.calls: list[list[ShardTask]] = []
        self.timeouts: set[float] = set()

    def score(
        self, tasks: Sequence[ShardTask], n_workers: int, timeout_s: float, on_lost: Any
    ) -> Iterator[ShardResult]:
        self.calls.append(list(tasks))
        self.timeouts.add(timeout_s)
        if tasks:
            on_lost(tasks[0])
        yield from next(self.answers)


@pytest.fixture
def plan(execution: Execution, tmp_path: Path) -> RunPlan:
    model = SimpleNamespace(
        cached=SimpleNamespace(path=tmp_path), version=SimpleNamespace(version="1")
    )
    return run_plan(execution, n_shards=3, model=model)


def test_a_task_for_each_shard_that_is_not_finished(execution: Execution, plan: RunPlan) -> None:
    execution.results.resumed.append(result(1))
    execution.record.update(attempts=2)
    tasks = make_tasks(execution, plan)
    assert [task.shard.index for task in tasks] == [0, 2]
    assert {task.first_attempt for task in tasks} == {MAX_ATTEMPTS}
    assert all(task.job is execution.job for task in tasks)
    assert not any(task.from_quarantine for task in tasks)


def test_a_replay_s_tasks_read_the_quarantine(
    make_execution: Callable[..., Execution], plan: RunPlan
) -> None:
    execution = make_execution(limits={"max_quarantined_share": 0.1})
    other = execution.job.model_copy(update={"name": "quarantine"})
    source = SourceRows(job=other, n_rows=1_000, from_quarantine=True)
    replayed = run_plan(execution, model=plan.model, source=source)
    for task in make_tasks(execution, replayed):
        assert task.job is other
        assert task.from_quarantine
        assert task.max_quarantined == 100, "of the whole partition"
        assert task.n_rows == 20


def test_results_are_collected_and_told(
    execution: Execution, plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers([result(2), result(0), result(1)])
    monkeypatch.setattr(execution.pool, "score", workers.score)
    events: list[Any] = []
    monkeypatch.setattr(execution, "emit", events.append)
    score_shards(execution, plan)
    assert [one.index for one in execution.results.in_order()] == [0, 1, 2]
    assert [type(event) for event in events] == [
        RunPlanned,
        ShardLost,
        ShardScored,
        ShardScored,
        ShardScored,
    ]
    assert workers.timeouts == {3_600.0}, "limits.shard_minutes"
    assert "score" in execution.record.manifest.measures.stages_s


def test_rows_are_told_before_their_shard_is_done(
    make_execution: Callable[..., Execution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_counts, "PERIOD_S", 0.001)
    told: queue.Queue[Any] = queue.Queue()
    model = SimpleNamespace(
        cached=SimpleNamespace(path=tmp_path), version=SimpleNamespace(version="1")
    )

    class Slow(Workers):
        """Wait in the midst of a shard until its rows are told."""

        def score(self, tasks: Any, *others: Any) -> Iterator[ShardResult]:
            row_counts.note_rows(tasks[1].row_counts, 1, 7)
            while not isinstance(event := told.get(timeout=30), RowsScored):
                pass
            assert (event.n_rows, event.partition) == (7, execution.shown_value)
            yield result(1)

    execution = make_execution()
    execution._listeners.append(told.put)
    monkeypatch.setattr(execution.pool, "score", Slow().score)
    score_shards(execution, run_plan(execution, n_shards=3, model=model))
    assert [one.index for one in execution.results.scored] == [1]


def test_if_one_shard_differs_all_that_were_compiled_are_scored_again(
    execution: Execution, plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution.results.resumed.append(result(0, predictor=COMPILED))
    first = [result(1, predictor=COMPILED), result(2, predictor=DIFFERED)]
    workers = Workers(first, [result(0), result(1)])
    monkeypatch.setattr(execution.pool, "score", workers.score)
    doubted = result(1).part.file.path
    execution.workspace.parts.write_bytes(doubted, b"x")

    score_shards(execution, plan)
    _, again = workers.calls
    assert [task.shard.index for task in again] == [0, 1]
    assert all("differed in another shard" in task.fallback_reason for task in again)
    assert execution.results.resumed == []
    assert [one.index for one in execution.results.in_order()] == [0, 1, 2]
    assert not execution.workspace.parts.exists(doubted)
