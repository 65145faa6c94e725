"""A comparison that fails costs the comparison, and never the predictions."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from nightscore.errors import ModelDigestError, StorageError
from nightscore.monitoring.drift import assess as assessing
from nightscore.monitoring.drift.assess import Drift
from nightscore.monitoring.drift.references import References
from nightscore.monitoring.drift.stored_profiles import stored_profile
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.profile_spec import ProfiledColumn
from nightscore.profiles.table import ColumnProfile
from nightscore.runs import drift_check as module
from nightscore.runs.dispatch import make_tasks
from nightscore.runs.drift_check import DriftCheck
from nightscore.runs.execution import Execution
from nightscore.schemas.contract import Contract, InputColumn, OutputColumn
from nightscore.schemas.manifest import DriftRecord
from tests.runs.conftest import result, run_plan

CONTRACT = Contract(
    features=(InputColumn("a", pa.float64(), "double"), InputColumn("b", pa.float64(), "double")),
    passthrough=(),
    predictions=(OutputColumn("prediction", pa.float64(), "prediction"),),
    has_position=True,
    types=(("a", "int32"),),
)


def profile_of_numbers(name: str, *edges: float) -> ColumnProfile:
    """A column of a reference, with bins between these edges."""
    profile = NumberProfile.empty(Edges.from_values(pa.chunked_array([list(edges)]).to_numpy()))
    return ColumnProfile(role="feature", name=name, profile=profile)


@pytest.fixture
def tasks(execution: Execution) -> list[Any]:
    model = SimpleNamespace(
        cached=SimpleNamespace(path="model"), version=SimpleNamespace(version="1")
    )
    return make_tasks(execution, run_plan(execution, model=model, contract=CONTRACT))


@pytest.fixture
def with_references(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DriftCheck]:
    """A check that has found references, in which the feature `a` has bins."""

    def make(references: References | None = None) -> DriftCheck:
        known = references or References(
            profiles={"previous": [profile_of_numbers("a", 0.0, 1.0, 2.0)]}
        )
        monkeypatch.setattr(module, "find_references", lambda *_: known)
        check = DriftCheck(execution)
        check.find_references(None)  # type: ignore[arg-type]
        return check

    return make


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_without_references_nothing_is_profiled_compared_or_stored(
    execution: Execution, tasks: list[Any]
) -> None:
    check = DriftCheck(execution)

    assert check.add_profiles(tasks, CONTRACT, 2) is tasks
    check.assess()
    check.store()

    assert check.failure == ""
    assert execution.record.manifest.drift is None
    assert execution.record.manifest.warnings == ()


def test_references_that_cannot_be_read_are_a_warning(
    execution: Execution, tasks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_references", raises(StorageError("It does not answer.", "x")))
    check = DriftCheck(execution)
    check.find_references(None)  # type: ignore[arg-type]

    reason = "the columns could not be compared with earlier partitions: It does not answer."
    assert check.failure == reason
    assert execution.record.manifest.warnings == (reason,)
    assert check.add_profiles(tasks, CONTRACT, 2) is tasks


def test_a_baseline_that_is_not_the_version_s_own_stops_the_run(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_references", raises(ModelDigestError("Another one.", "x")))
    with pytest.raises(ModelDigestError):
        DriftCheck(execution).find_references(None)  # type: ignore[arg-type]


def test_known_columns_keep_the_bins_of_the_reference_and_new_ones_are_cut_once(
    execution: Execution,
    tasks: list[Any],
    with_references: Callable[..., DriftCheck],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[Any, ...]] = []

    def sample(*arguments: Any, timeout_s: float) -> Any:
        calls.append(arguments)
        edges = Edges.from_values(pa.array([5.0, 6.0]).to_numpy())
        names = [("feature", "b"), ("prediction", "prediction")]
        return tuple(ProfiledColumn(role, name, edges) for role, name in names), ()  # type: ignore[arg-type]

    monkeypatch.setattr(execution.pool, "call", sample)
    profiled = with_references().add_profiles(tasks, CONTRACT, 2)

    ((function, sampled, new_columns, new_segments),) = calls
    assert (function, sampled, new_segments) == (module.sample_bins, tasks[:1], ())
    assert new_columns == (("feature", "b"), ("prediction", "prediction"))

    assert [task.shard for task in profiled] == [task.shard for task in tasks]
    (spec,) = {id(task.profile_spec): task.profile_spec for task in profiled}.values()
    assert [(column.role, column.name) for column in spec.columns] == [
        ("feature", "a"),
        ("feature", "b"),
        ("prediction", "prediction"),
    ]
    known, *_ = spec.columns
    assert known.edges.equals(profile_of_numbers("a", 0.0, 1.0, 2.0).profile.edges)  # type: ignore[union-attr]
    assert [column.type for column in spec.columns] == ["int32", "", "double"]


def test_shards_that_are_threads_of_one_process_begin_together(
    execution: Execution,
    tasks: list[Any],
    with_references: Callable[..., DriftCheck],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []

    def sample(_: Any, sampled: Any, *__: Any, timeout_s: float) -> Any:
        calls.append(sampled)
        return (), ()

    monkeypatch.setattr(execution.pool, "call", sample)
    in_threads = [replace(task, in_threads=True) for task in tasks]
    assert len(in_threads) > 1

    for n_at_once in (1, 2):
        with_references().add_profiles(in_threads, CONTRACT, n_at_once)
    assert calls == [in_threads[:1], in_threads[:2]]


def test_a_single_shard_cuts_new_bins_itself(
    execution: Execution,
    tasks: list[Any],
    with_references: Callable[..., DriftCheck],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution.pool, "call", raises(AssertionError("nothing is sampled")))
    (task,) = with_references().add_profiles(tasks[:1], CONTRACT, 1)
    spec = task.profile_spec
    assert [column.name for column in spec.columns] == ["a"]
    assert spec.to_cut.columns == (
        ProfiledColumn("feature", "b", None),
        ProfiledColumn("prediction", "prediction", None, type="double"),
    )


def test_without_new_bins_the_other_columns_are_profiled(
    execution: Execution,
    tasks: list[Any],
    with_references: Callable[..., DriftCheck],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution.pool, "call", raises(StorageError("It was lost.", "x")))
    check = with_references()
    profiled = check.add_profiles(tasks, CONTRACT, 2)

    assert [column.name for column in profiled[0].profile_spec.columns] == ["a"]
    assert execution.record.manifest.warnings == ("not profiled: b, prediction: It was lost.",)
    assert check.failure == "", "the columns that have bins are compared"


def test_if_no_shard_is_left_to_score_no_bins_are_cut(
    with_references: Callable[..., DriftCheck],
    execution: Execution,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution.pool, "call", raises(AssertionError("nothing to sample")))
    assert with_references().add_profiles([], CONTRACT, 1) == []
    assert execution.record.manifest.warnings == ()


def test_a_profile_of_an_earlier_attempt_that_cannot_be_read_ends_the_comparison(
    execution: Execution, tasks: list[Any], with_references: Callable[..., DriftCheck]
) -> None:
    execution.results.resumed.append(result(0, profile="bm8gcHJvZmlsZQ=="))
    check = with_references()

    assert check.add_profiles(tasks, CONTRACT, 2) is tasks
    assert check.failure.startswith("the columns could not be compared with earlier partitions")
    check.assess()
    assert execution.record.manifest.drift is None
    assert execution.record.manifest.warnings == (check.failure,), "it is said once"


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_comparison_and_its_warnings_go_into_the_record_and_then_to_the_store(
    execution: Execution,
    with_references: Callable[..., DriftCheck],
    monkeypatch: pytest.MonkeyPatch,
    is_ahead: bool,
) -> None:
    execution.results.scored += [result(1), result(0)]
    seen: list[int] = []
    counted = ColumnProfile(role="feature", name="c", profile=CategoryProfile(n_rows=1))

    def assess(job: Any, manifest: Any, results: Any, references: Any) -> Drift:
        seen.extend(shard.index for shard in results)
        return Drift(
            record=DriftRecord(verdict="warning"),
            profile=b"profile",
            table=b"table",
            warnings=("a moved",),
            columns=(counted,),
        )

    monkeypatch.setattr(assessing, "assess", assess)
    check = with_references()
    check.assess()
    manifest = execution.record.manifest
    assert seen == [0, 1], "in the order of the partition"
    assert manifest.drift == DriftRecord(verdict="warning")
    assert manifest.warnings == ("a moved",)

    assert manifest.drift.profile == "", "the record names no file before it is durable"
    if is_ahead:
        check.store_ahead()
    check.store()
    drift = execution.record.manifest.drift
    assert drift is not None
    assert execution.workspace.state.read_bytes(drift.profile) == b"profile"
    assert execution.workspace.state.read_bytes(drift.table) == b"table"

    check.share()
    assert stored_profile(execution.workspace, drift.profile) == [counted], "it is not read again"


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_comparison_that_fails_or_cannot_be_stored_is_a_warning(
    execution: Execution,
    with_references: Callable[..., DriftCheck],
    monkeypatch: pytest.MonkeyPatch,
    is_ahead: bool,
) -> None:
    monkeypatch.setattr(assessing, "assess", raises(ZeroDivisionError("odd")))
    failed = with_references()
    failed.assess()
    failed.store()
    assert failed.failure.endswith("earlier partitions: ZeroDivisionError: odd")
    assert execution.record.manifest.drift is None

    record = DriftRecord(verdict="ok")
    drift = Drift(record=record, profile=b"", table=b"", warnings=())
    monkeypatch.setattr(assessing, "assess", lambda *_: drift)
    monkeypatch.setattr(assessing, "keep", raises(StorageError("The disk is full.", "x")))
    unstored = with_references()
    unstored.assess()
    if is_ahead:
        unstored.store_ahead()
    unstored.store()
    assert unstored.failure == "", "it was compared"
    assert execution.record.manifest.drift == record
    assert execution.record.manifest.warnings[-1] == (
        "the profile could not be written: The disk is full."
    )
