"""Gates between a finished run and its readers; a person decides on what is held."""

import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightscore.errors import (
    ConflictError,
    InvalidJobError,
    LocationNotFoundError,
    PartitionNotFoundError,
)
from nightscore.inputs.jobfile import parse_job
from nightscore.ledger.layout import parts_store, predictions_store, state_store
from nightscore.ledger.manifest_files import write_manifest
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.operations.approve import approve
from nightscore.operations.clean import clean
from nightscore.operations.decision import find_held
from nightscore.operations.partitions import partition_statuses
from nightscore.operations.reject import reject
from nightscore.operations.verify import verify
from nightscore.outputs import duplicates
from nightscore.outputs.duplicates import find_duplicates
from nightscore.profiles.column_records import merge_records, prediction_records
from nightscore.profiles.hashes import BLOCK_VALUES
from nightscore.runs.gate_declaration import FinishedRun
from nightscore.runs.gates import check_gates
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest, read_record
from nightscore.schemas.performance import EstimateRecord, MetricRecord
from nightscore.storage.store import Store
from tests.cli.test_commands import answer, nightscore, save
from tests.support.lake import Lake
from tests.support.models import make_frame, with_nulls

DAY = "2024-02-29"
LATER = "ffffffff-0000-7000-8000-000000000000"
UNIQUE = {"columns": ["id"], "unique": True}


def twice(n_rows: int = 1_000) -> pd.DataFrame:
    frame = make_frame(n_rows)
    frame.loc[500, "id"] = 7
    return frame


ESTIMATED = Path(__file__).parents[1] / "golden" / "manifest-1j.json"
"""A run whose AUC is estimated as 0.710 (0.690 to 0.730), with 0.76 in the baseline."""


@pytest.mark.parametrize(
    ("settings", "passed", "action", "found"),
    [
        ({"min": 0.69}, True, "hold", "0.710 (0.690 to 0.730)"),
        ({"min": 0.7}, False, "hold", "0.710 (0.690 to 0.730)"),
        ({"max_drop": 0.08}, True, "hold", "0.710 (0.690 to 0.730)"),
        ({"max_drop": 0.06}, False, "hold", "0.710 (0.690 to 0.730)"),
        ({"min": 0.65, "max_drop": 0.06}, False, "hold", "0.710 (0.690 to 0.730)"),
        ({"min": 0.7, "max_drop": 0.08, "action": "fail"}, False, "fail", "0.710 (0.690 to 0.730)"),
        (
            {"metric": "precision", "min": 0.7},
            False,
            "warn",
            "no estimate: too few: 914 rows, at least 1,000 are needed",
        ),
        (
            {"metric": "f1", "max_drop": 0.1},
            False,
            "warn",
            "no estimate: the baseline has no labels",
        ),
    ],
)
def test_an_estimate_is_judged_by_the_lower_end_of_its_band(
    settings: dict[str, Any], passed: bool, action: str, found: str, tmp_path: Path
) -> None:
    manifest = read_record(ESTIMATED.read_text(), Manifest)
    raw = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": str(tmp_path / "features")},
        "output": {"uri": str(tmp_path / "predictions")},
        "gates": {"estimated": settings},
    }
    records = check_gates(FinishedRun(Workspace(parse_job(raw)), manifest))
    (record,) = [record for record in records if record.gate == "estimated"]
    assert (record.passed, record.action, record.found) == (passed, action, found)


@pytest.mark.parametrize(
    ("settings", "passed", "expected"),
    [
        ({"max": 21.0}, True, "rmse of at most 21"),
        ({"max": 20.9}, False, "rmse of at most 20.9"),
        ({"max_rise": 2.5}, True, "rmse of at most 21 (the baseline's 18.5 plus 2.5)"),
        ({"max_rise": 2.4}, False, "rmse of at most 20.9 (the baseline's 18.5 plus 2.4)"),
        ({"max": 20, "max_rise": 2.5}, False, "rmse of at most 20"),
        (
            {"max": 30, "max_rise": 2.4},
            False,
            "rmse of at most 20.9 (the baseline's 18.5 plus 2.4)",
        ),
    ],
)
def test_an_error_is_judged_by_the_upper_end_of_its_band(
    settings: dict[str, Any], passed: bool, expected: str, tmp_path: Path
) -> None:
    estimate = EstimateRecord(
        metrics=(MetricRecord(name="rmse", value=20.0, low=19.0, high=21.0, n=900),),
        baseline=(MetricRecord(name="rmse", value=18.5, n=9_000),),
    )
    manifest = read_record(ESTIMATED.read_text(), Manifest)
    manifest = manifest.model_copy(update={"estimate": estimate})
    raw = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": str(tmp_path / "features")},
        "output": {"uri": str(tmp_path / "predictions")},
        "gates": {"estimated": {"metric": "rmse", **settings}},
    }
    records = check_gates(FinishedRun(Workspace(parse_job(raw)), manifest))
    (record,) = [record for record in records if record.gate == "estimated"]
    assert (record.passed, record.found) == (passed, "20.000 (19.000 to 21.000)")
    assert record.expected == f"{expected}, by the upper end of its band"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "needs `min` or `max_drop`"),
        ({"min": 1}, "no run can pass"),
        ({"metric": "value", "min": 2}, "without decision.values"),
        (
            {"metric": "log_loss", "min": 0.1},
            "expected `max` or `max_rise`, found min: log_loss is",
        ),
        ({"max": 0.9}, "expected `min` or `max_drop`, found max: roc_auc is"),
        ({"metric": "rmse"}, "needs `max` or `max_rise`"),
        ({"metric": "rmse", "max": 0}, "no run can pass"),
        ({"metric": "brier", "max": 2}, "never stops a run"),
    ],
)
def test_a_gate_of_estimates_that_cannot_work_is_refused(
    settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    raw = {
        "name": "test",
        "model": "models:/m/1",
        "input": {"uri": str(tmp_path / "features")},
        "output": {"uri": str(tmp_path / "predictions")},
        "gates": {"estimated": settings},
    }
    with pytest.raises(InvalidJobError, match=problem):
        parse_job(raw)


def gate(manifest: Manifest, name: str) -> Any:
    (matching,) = (record for record in manifest.gates if record.gate.startswith(name))
    return matching


def test_keys_that_stand_twice_fail_across_files_and_are_named(any_lake: Lake) -> None:
    frame = twice()
    any_lake.write(DAY, frame.iloc[:400], "a")
    any_lake.write(DAY, frame.iloc[400:], "b")

    failed = any_lake.run(any_lake.job(keys=UNIQUE))

    assert failed.error
    assert failed.error.type == "GateError"
    assert (
        "unique_keys: expected no key twice, found 2 rows: id=7 (2 times)" in failed.error.message
    )
    assert not predictions_store(any_lake.job()).list_files()
    assert any_lake.run(any_lake.job(keys=["id"])).status == "published"


@pytest.mark.parametrize("action", ["warn", "hold", "fail"])
def test_each_action(lake: Lake, action: str) -> None:
    lake.write(DAY, twice())
    manifest = lake.run(lake.job(keys=UNIQUE, gates={"unique_keys": action}))
    assert manifest.status == {"warn": "published", "hold": "held", "fail": "failed"}[action]
    assert any("unique_keys" in warning for warning in manifest.warnings)


def test_equal_keys_in_one_column_are_no_duplicates_of_several(lake: Lake) -> None:
    lake.write(DAY, twice())
    keys = {"columns": ["id", "count", "a"], "unique": True}
    assert lake.run(lake.job(keys=keys)).status == "published"


@pytest.mark.slow
@settings(deadline=None)  # of a machine that is busy
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["x", "y", None])), max_size=60),
    st.integers(1, 4),
)
def test_duplicates_are_those_that_counting_finds(
    rows: list[tuple[int, str | None]], at_once: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "HASHES_AT_ONCE", at_once * 10)
        for i in range(2):
            part = rows[i::2]
            strings = pa.array([s for _, s in part], pa.string()).dictionary_encode()
            pq.write_table(
                pa.table({"k": pa.array([k for k, _ in part], pa.int64()), "s": strings}),
                f"{folder}/{i}.parquet",
            )
        counted = find_duplicates(Store(folder), ["0.parquet", "1.parquet"], ["k", "s"])
    assert counted.n_rows == sum(1 for row in rows if rows.count(row) > 1)
    assert bool(counted.examples) == (counted.n_rows > 0)


@pytest.mark.parametrize(
    "kind",
    [
        pa.decimal256(50, 0),
        pa.decimal128(20, 0),
        pa.timestamp("us", "+05:30"),
        pa.timestamp("ns", "Europe/Berlin"),
    ],
    ids=str,
)
def test_keys_of_types_that_polars_lacks(tmp_path: Path, kind: pa.DataType) -> None:
    hour = 3_600_000_000_000  # around the one that Berlin's clocks showed twice
    moments = pa.array([1_729_987_200_000_000_000 + i * hour for i in (0, 1, 2, 3, 1)])
    pq.write_table(
        pa.table(
            {"k": moments.cast(pa.timestamp("ns")).cast(kind)}
            if pa.types.is_timestamp(kind)
            else {"k": moments.cast(pa.decimal128(20, 0)).cast(kind)}
        ),
        tmp_path / "0.parquet",
    )
    assert find_duplicates(Store(str(tmp_path)), ["0.parquet"], ["k"]).n_rows == 2


@pytest.mark.parametrize(
    ("gates", "name", "passed"),
    [
        ({"prediction_range": {"min": -1000, "max": 1000}}, "prediction_range", True),
        ({"prediction_range": {"max": 0.5}}, "prediction_range", False),
        ({"null_rate": {"max": 0.5}}, "null_rate", True),
        ({"null_rate": {"max": 0.05}}, "null_rate", False),
        ({"null_rate": {"max": 0.5, "columns": {"b": 0.01}}}, "null_rate", False),
        ({"finite_predictions": "fail"}, "finite_predictions", True),
    ],
)
def test_gates_on_the_run_s_own_columns(
    lake: Lake, gates: dict[str, Any], name: str, passed: bool
) -> None:
    lake.write(DAY, with_nulls(make_frame(2_000)))
    manifest = lake.run(lake.job("hgb_regressor", gates=gates))
    record = gate(manifest, name)
    assert record.passed is passed
    assert (manifest.status == "published") is (passed or record.action == "warn")
    if not passed:
        assert {"prediction_range": "prediction from", "null_rate": "b 1"}[name] in record.found


def test_an_infinite_prediction_is_in_no_range(lake: Lake) -> None:
    gates = {"prediction_range": {"min": 0.0, "max": 1.0}, "finite_predictions": "off"}
    columns = prediction_records(pa.table({"prediction": [0.5, math.inf]}))
    lake.write(DAY, make_frame(10))
    manifest = lake.run(lake.job()).model_copy(update={"columns": tuple(columns)})
    job = lake.job(gates=gates, drift={"gate": "off"})
    (record,) = check_gates(FinishedRun(Workspace(job), manifest))
    assert not record.passed
    assert record.found == "prediction infinite in 1 rows"


@pytest.mark.parametrize("values", [[1e155, -1e155, 3.0], [1.7e308, 1.7e308, 1.7e308], [1e200] * 3])
def test_predictions_whose_moments_exceed_float64_are_recorded(values: list[float]) -> None:
    parts = [values[:1], values[1:], values]
    (merged,) = merge_records(
        record for part in parts for record in prediction_records(pa.table({"p": part}))
    )
    assert (merged.finite, merged.low, merged.high) == (2 * len(values), min(values), max(values))
    assert type(merged).model_validate_json(merged.model_dump_json()) == merged
    if values[0] != 1e200:
        assert (merged.mean, merged.squares) == (None, None)


def test_a_probability_has_a_range_of_its_own(lake: Lake) -> None:
    lake.write(DAY, make_frame(500))
    manifest = lake.run(
        lake.job(gates={"probability_range": {"min": 0.4, "max": 0.6, "action": "warn"}})
    )
    assert manifest.status == "published"
    assert not gate(manifest, "probability_range").passed


def test_rows_and_scores_against_the_days_before(lake: Lake) -> None:
    history = {
        "rows": {"min_ratio": 0.5, "max_ratio": 2.0},
        "score_shift": {"max": 0.5, "action": "warn"},
    }
    job = lake.job("hgb_regressor", gates=history)
    for day in range(1, 6):
        lake.write(f"2024-03-0{day}", make_frame(1_000 + day, seed=day))
        manifest = lake.run(job, f"2024-03-0{day}")
        assert manifest.status == "published"
        assert ("too few" in gate(manifest, "rows").found) is (day <= 3)
    lake.write("2024-03-06", make_frame(100))
    few = lake.run(job, "2024-03-06")
    assert few.status == "held"
    assert gate(few, "rows").found == "100 rows, 0.10 of the usual 1,003"
    shifted = make_frame(1_000)
    shifted["a"] += 3
    lake.write("2024-03-07", shifted)
    manifest = lake.run(job, "2024-03-07")
    assert manifest.status == "published"
    assert not gate(manifest, "score_shift of prediction").passed
    assert any("score_shift of prediction" in warning for warning in manifest.warnings)


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.float32(), pa.int64(), pa.dictionary(pa.int32(), pa.float64())]
)
def test_predictions_of_several_blocks_are_recorded_as_by_numpy(kind: pa.DataType) -> None:
    rng = np.random.default_rng(0)
    size = 2 * BLOCK_VALUES + 300
    stored = rng.integers(-1_000, 1_000, size).astype(np.float64)
    if pa.types.is_floating(kind):
        stored[:BLOCK_VALUES] = np.nan  # a block without a finite value
        stored[-1] = math.inf
    is_null = rng.random(size) < 0.1
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    array = pa.array(stored, mask=is_null).cast(plain)
    array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array
    column = pa.chunked_array([array.slice(0, 9_000), array.slice(9_000)])

    (record,) = prediction_records(pa.table({"p": column}))

    finite = stored[np.isfinite(stored) & ~is_null]
    assert (record.rows, record.finite) == (size, len(finite))
    assert record.infinite == int(np.isinf(stored[~is_null]).sum())
    assert record.missing == size - len(finite) - record.infinite
    assert (record.low, record.high) == (finite.min(), finite.max())
    assert record.mean == pytest.approx(finite.mean(), rel=1e-12)
    assert record.squares == pytest.approx(np.square(finite - finite.mean()).sum(), rel=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(0, 50))
def test_moments_merge_to_those_of_the_whole(values: list[float], cut: int) -> None:
    whole, (merged,) = (
        np.array(values),
        merge_records(
            record
            for part in (values[:cut], values[cut:])
            for record in prediction_records(pa.table({"p": pa.array(part, pa.float64())}))
        ),
    )
    assert merged.finite == len(values)
    assert (merged.low, merged.high) == (whole.min(), whole.max())
    assert np.isclose(merged.mean, whole.mean(), rtol=1e-9, atol=1e-9)
    squares = np.square(whole - whole.mean()).sum()
    assert np.isclose(
        merged.squares, squares, rtol=1e-6, atol=1e-6 * max(1.0, np.square(whole).max())
    )


def held(lake: Lake) -> tuple[ScoringJob, Manifest, pd.DataFrame]:
    """A first publication, and a second run that its gate holds."""
    lake.write(DAY, make_frame(300))
    assert lake.run(lake.job()).status == "published"
    lake.write(DAY, twice())
    job = lake.job(keys=UNIQUE, gates={"unique_keys": "hold"})
    before = lake.read(job)
    manifest = lake.run(job)
    assert manifest.status == "held"
    assert lake.read(job).equals(before)
    return job, manifest, before


def test_what_is_held_is_published_by_approval(any_lake: Lake) -> None:
    job, manifest, _ = held(any_lake)

    waiting = any_lake.run(job)
    assert (waiting.status, waiting.run_id) == ("held", manifest.run_id)
    done = approve(job, find_held(job, DAY), datetime.now(UTC), "known: a flight twice")

    assert done.status == "published"
    assert done.decision
    assert (done.decision.verdict, done.decision.note) == ("approved", "known: a flight twice")
    assert done.decision.by
    assert len(any_lake.read(job)) == 1_000
    assert any_lake.run(job).status == "unchanged"
    assert verify(job, DAY, any_lake.pool, any_lake.cache, 100, 0).is_sound
    with pytest.raises(PartitionNotFoundError, match="waits for a decision"):
        find_held(job, DAY)


def test_what_is_rejected_is_gone_and_scored_again_only_by_force(any_lake: Lake) -> None:
    job, manifest, before = held(any_lake)

    dropped = reject(
        job, find_held(job, DAY, manifest.run_id), datetime.now(UTC), "the extract is broken"
    )

    assert dropped.status == "rejected"
    assert any_lake.read(job).equals(before)
    left = [e.path for e in parts_store(job).list_files() if manifest.run_id in e.path]
    assert not [
        path
        for path in left
        if path.endswith(".parquet") and not path.startswith(("profiles/", "drift/"))
    ]
    assert any_lake.run(job).status == "rejected"
    write_manifest(
        state_store(job),
        f"ds={DAY}",
        manifest.model_copy(update={"run_id": LATER, "status": "failed"}),
    )
    assert any_lake.run(job).status == "rejected", "a later failure hides the rejection"
    (status,) = partition_statuses(job, PinnedModel.resolve(job, any_lake.cache), [DAY])
    assert status.state == "rejected"
    assert any_lake.run(job, force=True).status == "held"
    any_lake.write(DAY, make_frame(50))
    assert any_lake.run(job).status == "published"


def test_a_held_replay_is_no_run_that_waits(lake: Lake) -> None:
    job, manifest, _ = held(lake)
    replay = manifest.model_copy(update={"run_id": LATER, "replays": manifest.run_id})
    approve(job, manifest, datetime.now(UTC))
    write_manifest(state_store(job), f"ds={DAY}", replay)
    assert lake.run(job).status == "unchanged"
    (status,) = partition_statuses(job, PinnedModel.resolve(job, lake.cache), [DAY])
    assert status.state == "published"
    assert any(f"replay {LATER} is held" in reason for reason in status.reasons), (
        "somebody has to decide"
    )
    assert lake.run(job, force=True).run_id != LATER
    assert find_held(job, DAY, LATER).replays == manifest.run_id


def test_approval_over_other_results_is_refused(lake: Lake) -> None:
    job, manifest, _ = held(lake)
    assert lake.run(lake.job(), force=True).status == "published"
    with pytest.raises(ConflictError, match="Another run published"):
        approve(job, manifest, datetime.now(UTC))
    with pytest.raises(InvalidJobError, match="does not wait"):
        find_held(job, DAY, "01a20b33-0000-7000-8000-000000000000")


def test_clean_keeps_what_is_held(any_lake: Lake) -> None:
    job, _, _ = held(any_lake)
    clean(job, datetime.now(UTC) + timedelta(days=9), timedelta(0), delete=True)
    assert approve(job, find_held(job, DAY), datetime.now(UTC)).status == "published"


def test_an_approval_whose_files_are_gone_says_so(lake: Lake) -> None:
    job, manifest, _ = held(lake)
    predictions_store(job).delete([file.path for file in manifest.output.files])
    with pytest.raises(LocationNotFoundError, match="missing or damaged"):
        approve(job, manifest, datetime.now(UTC))
    assert reject(job, find_held(job, DAY), datetime.now(UTC)).status == "rejected", (
        "nobody could decide any more"
    )


def test_by_command(lake: Lake, tmp_path: Path) -> None:
    lake.write(DAY, twice())
    path = str(save(lake.job(keys=UNIQUE, gates={"unique_keys": "hold"}), tmp_path))
    shown = nightscore(lake, "run", path, DAY)
    assert shown.returncode == 3
    assert "unique_keys: expected no key twice, found 2 rows: id=7 (2 times)" in shown.stderr
    assert f"nightscore approve {path} {DAY}, or nightscore reject {path} {DAY}" in shown.stderr
    explained = answer(lake, "explain", path, DAY)
    assert explained["state"] == "held"
    assert f"`nightscore approve {path} {DAY}` publishes it" in explained["reasons"][-1]
    assert answer(lake, "reject", path, DAY, "--note", "no")["decision"]["verdict"] == "rejected"
    assert answer(lake, "run", path, DAY, "--force", code=3)["status"] == "held"
    assert answer(lake, "approve", path, DAY)["status"] == "published"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"gates": {"rows": {"min_ratio": 2, "max_ratio": 0.5}}},
            "gates.rows: min_ratio 2 is greater than max_ratio",
        ),
        ({"gates": {"rows": {"min_ratio": 0}}}, "gates.rows: min_ratio 0 never stops a run"),
        ({"gates": {"rows": {"max_ratio": math.inf}}}, "gates.rows.max_ratio: "),
        (
            {"gates": {"prediction_range": {"min": 2, "max": 1}}},
            "gates.prediction_range: min 2.0 is greater than max",
        ),
        ({"gates": {"prediction_range": {"max": math.nan}}}, "gates.prediction_range.max: "),
        ({"gates": {"prediction_range": {}}}, "gates.prediction_range: needs `min` or `max`"),
        (
            {"gates": {"probability_range": {"min": 1.5}}},
            "gates.probability_range: min 1.5 is above 1",
        ),
        (
            {"gates": {"probability_range": {"max": -0.5}}},
            "gates.probability_range: max -0.5 is below 0",
        ),
        ({"gates": {"null_rate": {"max": 1.5}}}, "gates.null_rate.max: "),
        (
            {"gates": {"null_rate": {"max": 0.5, "columns": {"a": -1}}}},
            "gates.null_rate.columns.a: ",
        ),
        ({"gates": {"null_rate": {"max": 1}}}, "gates.null_rate: max 1 never stops a run"),
        ({"gates": {"score_shift": {"max": math.inf}}}, "gates.score_shift.max: "),
        (
            {"gates": {"rows": {"min_ratio": 0.5, "runs": 2}}},
            "gates.rows.runs: 2 never stops a run",
        ),
        ({"keys": {"columns": ["ds"], "unique": True}}, "keys.unique: ds is the same in all rows"),
        (
            {"gates": {"unique_keys": "hold"}},
            "gates.unique_keys: hold never applies without keys.unique",
        ),
        (
            {"drift": {"gate": "hold", "profile": False}},
            "drift.gate: hold never applies with drift.profile: false",
        ),
    ],
)
def test_a_gate_that_contradicts_itself_or_the_job_is_refused(
    lake: Lake, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidJobError) as refused:
        lake.job(**changes)
    assert any(problem.startswith(said) for problem in refused.value.problems), (
        refused.value.problems
    )


def test_all_contradictions_of_a_job_are_named_at_once(lake: Lake) -> None:
    gates = {
        "rows": {"min_ratio": 2, "max_ratio": 1},
        "null_rate": {"max": 2},
        "prediction_range": {},
    }
    with pytest.raises(InvalidJobError) as refused:
        lake.job(gates=gates)
    assert len(refused.value.problems) == 3
    with pytest.raises(InvalidJobError) as refused:
        lake.job(
            gates={"unique_keys": "warn"},
            drift={"gate": "hold", "profile": False, "columns": ["x"]},
        )
    assert len(refused.value.problems) == 3


def test_what_was_accepted_and_says_something_still_is(lake: Lake) -> None:
    gates = {
        "unique_keys": "fail",
        "probability_range": {"min": 0, "max": 1},
        "null_rate": {"max": 1, "columns": {"a": 0.1}},
        "rows": {"min_ratio": 0, "max_ratio": 2},
    }
    assert lake.job(gates=gates).gates.unique_keys == "fail"


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (
            "hgb_regressor",
            {"gates": {"probability_range": {"min": 0.1}}},
            "gates.probability_range: never applies",
        ),
        (
            "hgb_binary",
            {"gates": {"null_rate": {"max": 0.1, "columns": {"probabilty": 0.2}}}},
            "gates.null_rate.columns: probabilty is neither a feature nor a prediction; did you mean probability?",
        ),
        (
            "hgb_binary",
            {"gates": {"null_rate": {"max": 0.1, "columns": {"zzz": 0.2}}}},
            "gates.null_rate.columns: zzz is neither a feature nor a prediction; there are: a, b",
        ),
        ("hgb_binary", {"drift": {"segments": ["nowhere"]}}, "drift.segments: nowhere is neither"),
    ],
)
def test_a_gate_that_cannot_apply_to_the_model_is_refused_before_a_row_is_read(
    lake: Lake, tmp_path: Path, model: str, changes: dict[str, Any], said: str
) -> None:
    lake.write(DAY, make_frame(50))
    job = lake.job(model, **changes)
    manifest = lake.run(job)
    assert manifest.error
    assert manifest.error.type == "ContractError"
    assert f"  - {said}" in manifest.error.message
    assert manifest.counts.rows_in == 0
    planned = nightscore(lake, "plan", str(save(job, tmp_path)), DAY)
    assert planned.returncode == 1
    assert said in planned.stderr


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({}, True),
        ({"gates": {"prediction_range": {"max": 0.25, "action": "hold"}}}, True),
        ({"gates": {"prediction_range": {"max": 0.5, "action": "warn"}}}, False),
        ({"gates": {"prediction_range": {"max": 1e9, "action": "hold"}}}, False),
        ({"gates": {}}, False),
    ],
)
def test_a_held_run_is_judged_by_the_gates_of_today(
    lake: Lake, changes: dict[str, Any], blocks: bool
) -> None:
    then = {"gates": {"prediction_range": {"max": 0.5, "action": "hold"}}}
    lake.write(DAY, make_frame(300))
    held_run = lake.run(lake.job("hgb_regressor", **then))
    assert held_run.status == "held"
    job = lake.job("hgb_regressor", **then | changes)
    (status,) = partition_statuses(job, PinnedModel.resolve(job, lake.cache), [DAY])
    assert (status.state == "held") is blocks
    if not blocks:
        assert status.state == "missing"
        assert any(
            "was held by prediction_range, and no gate of the current job" in r
            for r in status.reasons
        )
    after = lake.run(job)
    assert (after.run_id == held_run.run_id) is blocks
    assert after.status == ("held" if blocks else "published")
    assert find_held(job, DAY).run_id == held_run.run_id
    if not blocks:
        with pytest.raises(ConflictError, match="Another run published"):
            approve(job, held_run, datetime.now(UTC))
    assert reject(job, held_run, datetime.now(UTC)).status == "rejected"


def test_what_was_held_can_be_approved_after_its_gate_has_gone(lake: Lake) -> None:
    lake.write(DAY, make_frame(300))
    lake.run(lake.job("hgb_regressor", gates={"prediction_range": {"max": 0.5, "action": "hold"}}))
    job = lake.job("hgb_regressor")
    assert approve(job, find_held(job, DAY), datetime.now(UTC)).status == "published"
    assert lake.run(job).status == "unchanged"


def test_a_rejection_outlives_its_gate(lake: Lake) -> None:
    lake.write(DAY, make_frame(300))
    then = lake.job("hgb_regressor", gates={"prediction_range": {"max": 0.5, "action": "hold"}})
    reject(then, lake.run(then), datetime.now(UTC))
    assert lake.run(lake.job("hgb_regressor")).status == "rejected"


def test_a_gate_on_the_days_before_holds_as_it_did_unless_its_bounds_change(lake: Lake) -> None:
    def job(**rows: Any) -> ScoringJob:
        return lake.job(gates={"rows": {**rows, "action": "hold"}})

    for day in range(1, 4):
        lake.write(f"2024-02-0{day}", make_frame(300))
        lake.run(job(min_ratio=0.5), f"2024-02-0{day}")
    lake.write("2024-02-04", make_frame(30))
    held_run = lake.run(job(min_ratio=0.5), "2024-02-04")
    assert held_run.status == "held"
    for day in range(1, 4):
        lake.write(f"2024-02-0{day}", make_frame(30))
        assert lake.run(job(max_ratio=9), f"2024-02-0{day}").status == "published"
    assert lake.run(job(min_ratio=0.5), "2024-02-04").run_id == held_run.run_id, (
        "the days before release nothing"
    )
    assert lake.run(job(min_ratio=0.4), "2024-02-04").status == "published"
