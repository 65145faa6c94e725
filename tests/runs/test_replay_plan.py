"""A replay scores what is in quarantine only if it can stand among the published rows."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nightscore.errors import (
    ConflictError,
    ContractError,
    CorruptFileError,
    InvalidJobError,
)
from nightscore.ledger.manifest_files import find_manifest
from nightscore.runs.execution import Execution
from nightscore.runs.partition_state import look_up_partition, resolve_model
from nightscore.runs.replay_plan import plan_replay
from nightscore.runs.run import run
from nightscore.schemas.manifest import Manifest
from tests.fakes import tiny_flavor
from tests.fakes.registry import URI, StubRegistry
from tests.runs.conftest import DAY, write_features

Make = Callable[..., Execution]


def features(*a: float | None) -> pa.Table:
    zeros = [0.0] * len(a)
    return pa.table({"id": range(len(a)), "a": pa.array(a, pa.float64()), "b": zeros, "c": zeros})


@pytest.fixture
def make_replay(make_execution: Make, tiny_models: StubRegistry) -> Make:
    """A job without quarantined rows: later policies let missing values pass."""

    def make(**options: Any) -> Execution:
        known = {
            "registry": URI,
            "limits": {"max_quarantined_share": 1.0},
            "policy": {"missing": "pass"},
        }
        return make_execution(**(known | options))

    return make


@pytest.fixture
def base(make_replay: Make) -> Manifest:
    """A published run of two files with a quarantined row in each."""
    execution = make_replay(policy={"missing": "quarantine"})
    write_features(execution, "a.parquet", features(1.0, None, 3.0))
    write_features(execution, "b.parquet", features(None, 5.0))
    manifest = run(
        execution.job,
        DAY,
        pool=execution.pool,
        cache=execution.cache,
        now=datetime(2024, 3, 1, tzinfo=UTC),
    )
    assert (manifest.status, manifest.counts.rows_quarantined) == ("published", 2)
    return manifest


def test_the_quarantine_is_read_and_the_partition_is_known(
    make_replay: Make, base: Manifest
) -> None:
    execution = make_replay()
    plan = plan_replay(execution, base, allow_new_model=False)

    assert [file.path for file in plan.quarantined] == [file.path for file in base.quarantine.files]
    assert plan.first_rows == {f"ds={DAY}/a.parquet": 0, f"ds={DAY}/b.parquet": 3}
    assert [part.file.path for part in plan.published] == [file.path for file in base.output.files]

    source = plan.run.source
    assert (source.n_rows, source.from_quarantine) == (5, True), "limits are of the partition"
    assert source.job.input.uri == execution.workspace.state.url
    assert plan.run.shards.n_rows == 2
    (a, _) = plan.run.contract.features
    assert (a.name, a.has_nulls) == ("a", True)

    stored = find_manifest(execution.workspace.state, execution.folder, execution.run_id)
    assert stored is not None
    assert (stored.status, stored.replays, stored.replaces) == ("running", base.run_id, base.run_id)
    assert stored.inputs == base.inputs
    assert stored.in_order


def test_a_run_with_this_policy_would_give_the_same_so_it_is_unchanged_later(
    make_replay: Make, base: Manifest
) -> None:
    execution = make_replay()
    plan = plan_replay(execution, base, allow_new_model=False)

    later = make_replay()
    planned = look_up_partition(later, resolve_model(later, None))
    assert plan.run.fingerprint == planned.fingerprint
    assert plan.run.fingerprint != base.fingerprint, "the policy is another"


def test_with_a_stricter_policy_a_later_run_scores_the_whole_partition(
    make_replay: Make, base: Manifest
) -> None:
    stricter = {"missing": "pass", "infinite": "quarantine"}
    plan = plan_replay(make_replay(policy=stricter), base, allow_new_model=False)
    assert plan.run.fingerprint == ""
    assert plan.first_rows is not None, "the rows can stand in their order all the same"


def test_without_the_input_that_was_scored_the_order_is_lost(
    make_replay: Make, base: Manifest
) -> None:
    execution = make_replay()
    write_features(execution, "a.parquet", features(1.0, None, 3.0, 4.0))
    plan = plan_replay(execution, base, allow_new_model=False)
    assert (plan.first_rows, plan.run.fingerprint) == (None, "")
    assert not execution.record.manifest.in_order


def test_rows_that_a_replay_has_appended_stay_out_of_order(
    make_replay: Make, base: Manifest
) -> None:
    execution = make_replay()
    appended = base.model_copy(update={"in_order": False})
    plan = plan_replay(execution, appended, allow_new_model=False)
    assert (plan.first_rows, plan.run.fingerprint) == (None, "")
    assert not execution.record.manifest.in_order


def test_a_run_that_was_replaced_is_not_replayed(make_replay: Make, base: Manifest) -> None:
    other = base.model_copy(update={"run_id": "0190e5a0-0000-7000-8000-000000000000"})
    with pytest.raises(ConflictError, match="Another run published") as caught:
        plan_replay(make_replay(), other, allow_new_model=False)
    assert caught.value.found == f"run {base.run_id}"
    assert other.run_id in caught.value.expected


def test_another_model_is_refused_unless_it_is_allowed(
    make_replay: Make, base: Manifest, tiny_models: StubRegistry, tmp_path: Path
) -> None:
    tiny_flavor.save(tmp_path / "second")
    (tmp_path / "second" / "weights.json").write_text('{"a": 1.0, "b": 1.0}')
    tiny_models.add("m", tmp_path / "second")

    with pytest.raises(InvalidJobError, match="The job's model is another now") as caught:
        plan_replay(make_replay(model="models:/m/2"), base, allow_new_model=False)
    assert "m version 1" in caught.value.expected
    assert "m version 2" in caught.value.found

    plan = plan_replay(make_replay(model="models:/m/2"), base, allow_new_model=True)
    assert plan.run.model.version.version == "2"
    assert plan.run.fingerprint == "", "a run now would score all rows with one model"


def test_all_files_of_a_changed_quarantine_are_named(make_replay: Make, base: Manifest) -> None:
    execution = make_replay()
    paths = [file.path for file in base.quarantine.files]
    for path in paths:
        execution.workspace.state.write_bytes(path, b"something else")

    with pytest.raises(CorruptFileError, match="nothing was scored") as caught:
        plan_replay(execution, base, allow_new_model=False)
    assert caught.value.problems == tuple(
        f"{path}: has another checksum than when it was written" for path in paths
    )


def test_columns_that_the_published_rows_lack_are_refused(
    make_replay: Make, base: Manifest
) -> None:
    with pytest.raises(ContractError, match="not those of the published rows") as caught:
        plan_replay(make_replay(pass_through=["c"]), base, allow_new_model=False)
    assert caught.value.problems == ("c: not there in the published rows, double now",)
