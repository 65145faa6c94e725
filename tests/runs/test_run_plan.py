"""What a run will do, before a row is scored: its model, its partition and what is left of it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from nightscore.engine.checkpoints import Resumption
from nightscore.errors import LocationNotFoundError, PartitionNotFoundError
from nightscore.ledger.live import Live
from nightscore.ledger.manifest_files import find_manifest, write_manifest
from nightscore.models.pinned import PinnedModel
from nightscore.runs import partition_state
from nightscore.runs import run_plan as module
from nightscore.runs.drift_check import DriftCheck
from nightscore.runs.execution import Execution
from nightscore.runs.partition_state import (
    PartitionState,
    find_earlier_answer,
    look_up_partition,
    resolve_model,
)
from nightscore.runs.run_plan import plan_run
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import InputFile, Partition
from tests.fakes.registry import URI, StubRegistry
from tests.runs.conftest import DAY, StubPublisher, result, write_features

Make = Callable[..., Execution]
FEATURES = pa.table({"id": [1, 2, 3], "a": [1.0, 2.0, 3.0], "b": [0.0, 0.0, 1.0]})


@pytest.fixture
def prepared(make_execution: Make, tiny_models: StubRegistry) -> Execution:
    """A run whose model is registered, and whose partition has two files of three rows."""
    execution = make_execution(registry=URI)
    write_features(execution, "a.parquet", FEATURES)
    write_features(execution, "b.parquet", FEATURES)
    return execution


def state(execution: Execution, **fields: Any) -> PartitionState:
    """What there is of a partition, with nothing published."""
    known: dict[str, Any] = {
        "publisher": StubPublisher(),
        "partition": Partition("ds", DAY, execution.folder, ()),
        "n_left_out": 0,
        "fingerprint": "sha256:now",
        "live": None,
        "history": SimpleNamespace(undecided=lambda fingerprint: None),
        "standing": None,
        "notes": (),
    }
    return PartitionState(**(known | fields))


def ended(execution: Execution, status: str, **fields: Any) -> Manifest:
    """The record of an earlier run."""
    return execution.record.manifest.model_copy(
        update={"run_id": "earlier", "status": status, "fingerprint": "sha256:now", **fields}
    )


def test_the_model_is_resolved_unless_the_caller_has_done_that(
    prepared: Execution, make_execution: Make, tiny_models: StubRegistry
) -> None:
    model = resolve_model(prepared, None)
    manifest = prepared.record.manifest
    assert (manifest.model.name, manifest.model.version) == ("m", "1")
    assert manifest.model.digest == model.cached.digest
    assert manifest.policy == prepared.job.policy
    assert "model" in manifest.measures.stages_s

    tiny_models.versions.clear()
    another = make_execution(registry=URI)
    assert resolve_model(another, model) is model
    assert another.record.manifest.model == manifest.model


def test_a_partition_is_looked_up_with_what_its_job_leaves_out(
    prepared: Execution, make_execution: Make
) -> None:
    execution = make_execution(
        registry=URI, input={"uri": prepared.job.input.uri, "files": "a*.parquet"}
    )
    model = resolve_model(execution, None)
    before = look_up_partition(execution, model)

    assert [file.path for file in before.partition.files] == [f"ds={DAY}/a.parquet"]
    assert before.n_left_out == 1
    assert before.fingerprint == model.fingerprint(execution.job, before.partition)
    assert (before.live, before.live_run_id, before.standing) == (None, None, None)


def test_a_partition_that_is_not_there_is_no_state(
    make_execution: Make, tiny_models: StubRegistry
) -> None:
    execution = make_execution(registry=URI)
    with pytest.raises((LocationNotFoundError, PartitionNotFoundError)):
        look_up_partition(execution, resolve_model(execution, None))


def test_the_same_published_work_is_unchanged(execution: Execution) -> None:
    published = ended(execution, "published")
    answer = find_earlier_answer(execution, state(execution, standing=published))
    assert answer is not None
    assert (answer.run_id, answer.status) == ("earlier", "unchanged")


def test_the_same_work_is_scored_again_if_its_files_were_deleted(execution: Execution) -> None:
    publisher = StubPublisher()
    publisher.deleted.add("ds=1/part.parquet")
    standing = ended(execution, "published")
    before = state(execution, standing=standing, publisher=publisher)
    assert find_earlier_answer(execution, before) is None
    (warning,) = execution.record.manifest.warnings
    assert warning.startswith("the published file ds=1/part.parquet was deleted")


def test_other_work_is_scored_whatever_stands(execution: Execution) -> None:
    other = ended(execution, "published", fingerprint="sha256:other")
    assert find_earlier_answer(execution, state(execution, standing=other)) is None


@pytest.mark.parametrize(
    ("status", "is_answer"), [("rejected", True), ("held", False)], ids=["rejected", "no gate"]
)
def test_undecided_work_is_an_answer_while_a_gate_or_a_person_stops_it(
    execution: Execution, status: str, is_answer: bool
) -> None:
    undecided = ended(execution, status)
    asked: list[str] = []

    def look_up(fingerprint: str) -> Manifest:
        asked.append(fingerprint)
        return undecided

    history = SimpleNamespace(undecided=look_up)
    answer = find_earlier_answer(execution, state(execution, history=history))
    assert answer is (undecided if is_answer else None)
    assert asked == ["sha256:now"]


def test_a_plan_covers_all_rows_and_says_so_before_it_holds_nothing_up(
    prepared: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[PinnedModel] = []
    monkeypatch.setattr(DriftCheck, "find_references", lambda _, model: searched.append(model))
    model = resolve_model(prepared, None)
    plan = plan_run(prepared, model, look_up_partition(prepared, model))

    assert plan.source.n_rows == plan.shards.n_rows == 6
    assert not plan.source.from_quarantine
    assert [column.name for column in plan.contract.features] == ["a", "b"]
    assert plan.facts.flavor == "tiny"
    assert searched == [model]

    stored = find_manifest(prepared.workspace.state, prepared.folder, prepared.run_id)
    assert stored is not None
    assert stored.status == "running"
    assert stored.fingerprint == plan.fingerprint != ""
    assert [file.path for file in stored.inputs.files] == [
        f"ds={DAY}/a.parquet",
        f"ds={DAY}/b.parquet",
    ]
    assert prepared.results.resumed == []


def test_a_job_without_profiles_looks_for_no_references(
    prepared: Execution, make_execution: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DriftCheck, "find_references", lambda *_: pytest.fail("it looked"))
    execution = make_execution(registry=URI, drift={"profile": False})
    model = resolve_model(execution, None)
    plan_run(execution, model, look_up_partition(execution, model))


def test_a_run_that_died_on_the_same_work_becomes_the_next_attempt(
    prepared: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = ended(prepared, "running", run_id="0190e5a0-0000-7000-8000-000000000000", attempts=1)
    fitting, outdated = result(0, rows_in=6), result(1, rows_in=99)
    asked: list[tuple[Any, ...]] = []

    def take_over(*arguments: Any) -> Resumption:
        asked.append(arguments[2:4])
        return Resumption(dead, 1, (fitting, outdated))

    monkeypatch.setattr(module, "take_over", take_over)
    model = resolve_model(prepared, None)
    before = look_up_partition(prepared, model)
    plan = plan_run(prepared, model, before)

    assert asked == [(before.fingerprint, None)]
    assert (prepared.run_id, prepared.record.manifest.attempts) == (dead.run_id, 2)
    assert plan.shards.cut_for == 1, "shards are the same as those of the dead run"
    assert prepared.results.resumed == [fitting], "the others are scored again"


def test_a_canary_is_not_resumed(prepared: Execution, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that are finished may have rows of its challenger, which does not score again."""
    monkeypatch.setattr(module, "take_over", lambda *_: pytest.fail("it resumes"))
    canary = CanaryRecord(
        label="8", name="m", version="8", digest="", share=0.1, salt="s", by=("id",)
    )
    prepared.record.update(canary=canary)
    model = resolve_model(prepared, None)
    plan_run(prepared, model, look_up_partition(prepared, model))

    assert prepared.results.resumed == []
    assert prepared.record.manifest.attempts == 1


def test_what_readers_see_is_recorded_as_replaced_and_completed_if_its_run_died(
    prepared: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = "0190e5a0-0000-7000-8000-000000000000"
    publisher = StubPublisher()
    publisher.answer = Live(run_id, ("x.parquet",), "1")
    for name, answer in (("check", None), ("check_fits", ())):
        monkeypatch.setattr(publisher, name, lambda *_, answer=answer: answer, raising=False)
    monkeypatch.setattr(partition_state, "open_publisher", lambda _: publisher)
    published = ended(prepared, "published", run_id=run_id, fingerprint="sha256:other")
    write_manifest(prepared.workspace.state, prepared.folder, published)

    model = resolve_model(prepared, None)
    before = look_up_partition(prepared, model)
    assert before.live_run_id == run_id
    assert before.standing is not None
    assert before.standing.run_id == run_id

    plan = plan_run(prepared, model, before)
    assert plan.live is publisher.answer, "the publication replaces exactly this"
    assert prepared.record.manifest.replaces == run_id


def test_files_are_recorded_as_they_were_planned(execution: Execution) -> None:
    files = (InputFile("ds=1/a.parquet", 10, "v1", ()), InputFile("ds=1/b.parquet", 20, "v2", ()))
    partition = Partition("ds", "1", "ds=1", files)
    record = module.inputs_record(execution.job, partition, 3, ("unused",))
    assert [(file.path, file.size_bytes, file.version) for file in record.files] == [
        ("ds=1/a.parquet", 10, "v1"),
        ("ds=1/b.parquet", 20, "v2"),
    ]
    assert (record.uri, record.files_left_out) == (execution.job.input.uri, 3)
    assert record.extra_columns == ("unused",)
