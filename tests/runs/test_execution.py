"""The life of a run: its record says how it ended, and nothing is left behind that nobody needs."""

from collections.abc import Callable
from typing import Any

import pytest

from nightscore.engine.events import RunEnded
from nightscore.errors import (
    ConflictError,
    InputError,
    InterruptedRunError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.ledger.layout import checkpoints_folder
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import find_manifest
from nightscore.runs.execution import Execution, RunInterrupted, RunResults
from nightscore.schemas.manifest import Manifest
from tests.runs.conftest import DAY, StubPublisher, result


def leave_files(execution: Execution) -> list[str]:
    """Files as of a run that has scored a shard."""
    scored = result(0)
    execution.results.scored.append(scored)
    execution.extra_files.append(f"ds={DAY}/merged.parquet")
    paths = [scored.part.file.path, *execution.extra_files]
    for path in paths:
        execution.workspace.parts.write_bytes(path, b"x")
    execution.workspace.state.write_bytes(
        f"{checkpoints_folder(execution.run_id)}/00000.json", b"x"
    )
    return paths


def left_files(execution: Execution) -> list[str]:
    checkpoints = execution.workspace.state.list_files("checkpoints")
    return [entry.path for entry in (*execution.workspace.parts.list_files(), *checkpoints)]


def fail_with(error: BaseException) -> Callable[[], Manifest]:
    def steps() -> Manifest:
        raise error

    return steps


def test_a_run_that_ends_well_tells_its_listeners(
    make_execution: Callable[..., Execution],
) -> None:
    events: list[Any] = []
    execution = make_execution(events)
    manifest = execution.execute(lambda: execution.record.end("published"))
    (ended,) = events
    assert isinstance(ended, RunEnded)
    assert (ended.run_id, ended.partition, ended.status) == (execution.run_id, DAY, "published")
    assert manifest.finished_at is not None


def test_a_failure_is_recorded_and_its_files_are_removed(execution: Execution) -> None:
    leave_files(execution)
    manifest = execution.execute(fail_with(InputError("It is no good.", "x")))
    assert manifest.status == "failed"
    assert manifest.error is not None
    assert manifest.error.type == "InputError"
    stored = find_manifest(execution.workspace.state, execution.folder, execution.run_id)
    assert stored == manifest
    assert left_files(execution) == []


def test_what_the_next_attempt_can_resume_from_stays(execution: Execution) -> None:
    leave_files(execution)
    execution.execute(fail_with(StorageUnavailableError("It does not answer.", "x")))
    assert len(left_files(execution)) == 3


def test_an_interruption_is_recorded_and_raised(execution: Execution) -> None:
    with pytest.raises(RunInterrupted) as stopped:
        execution.execute(fail_with(KeyboardInterrupt()))
    manifest = stopped.value.manifest
    assert manifest.status == "failed"
    assert manifest.error is not None
    assert manifest.error.type == InterruptedRunError.__name__


def test_an_unknown_error_is_recorded_and_raised(execution: Execution) -> None:
    with pytest.raises(ZeroDivisionError):
        execution.execute(fail_with(ZeroDivisionError("odd")))
    stored = find_manifest(execution.workspace.state, execution.folder, execution.run_id)
    assert stored is not None
    assert stored.error is not None
    assert (stored.status, stored.error.type) == ("failed", "ZeroDivisionError")


def test_a_commit_that_succeeded_is_a_publication_whatever_was_heard(
    execution: Execution,
) -> None:
    leave_files(execution)
    execution.committing = publisher = StubPublisher()
    publisher.answer = Live(execution.run_id, (), "1")
    manifest = execution.execute(fail_with(StorageUnavailableError("No answer.", "x")))
    assert (manifest.status, manifest.error) == ("published", None)
    assert len(left_files(execution)) == 3


@pytest.mark.parametrize(
    ("error", "answers", "stay"),
    [
        (ConflictError("Somebody was first.", "x"), True, False),
        (StorageError("It may have been committed.", "x"), True, True),
        (ConflictError("Somebody was first.", "x"), False, True),
    ],
    ids=["refused", "unknown", "nobody answers"],
)
def test_files_of_unknown_fate_are_never_removed(
    execution: Execution, error: Exception, answers: bool, stay: bool
) -> None:
    leave_files(execution)
    execution.committing = publisher = StubPublisher()
    publisher.failure = None if answers else StorageUnavailableError("No answer.", "x")
    assert execution.execute(fail_with(error)).status == "failed"
    assert bool(left_files(execution)) is stay


def test_discarded_shards_are_neither_scored_nor_resumed() -> None:
    results = RunResults([result(2), result(1)], [result(0), result(3)])
    assert [one.index for one in results.in_order()] == [0, 1, 2, 3]
    results.discard([result(1), result(3)])
    assert [one.index for one in results.in_order()] == [0, 2]
