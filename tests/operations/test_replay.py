"""Quarantined rows are scored again under another policy, and stand among the others as if they always had."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightscore.arrow.row_hashes import row_hashes
from nightscore.errors import PartitionNotFoundError
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.operations.replay import replay
from nightscore.operations.verify import verify
from nightscore.outputs.samples import KEY_HASH, read_samples
from nightscore.schemas.manifest import Manifest
from tests.cli.test_commands import answer, nightscore, save
from tests.outputs.test_quarantine import quarantined
from tests.support.lake import Lake
from tests.support.models import NUMBERS, KnownModel, make_frame

DAY = "2024-02-29"
STRICT = {
    "limits": {"max_quarantined_rows": 1_000},
    "policy": {"missing": "quarantine", "infinite": "quarantine"},
}
MISSING_PASSES = STRICT | {"policy": {"infinite": "quarantine"}}
MISSING = [0, 3, 399, 400, 401, 1_500, 2_999]
INFINITE = [7, 1_499]

OF_THE_BASE_RUN = {"inputs", "drift", "estimate"}
"""Fields of a replay's record that say again what the base run's record says."""
OF_BOTH = {"in_order", "output", "counts", "columns", "sample", "canary"}
"""Fields that tell of the whole partition, the published and the replayed rows."""
OF_THE_REPLAY = {
    *("schema_version", "run_id", "status", "job", "partition_key", "partition", "attempts"),
    *("started_at", "finished_at", "host", "pid", "engine", "location", "warnings", "error"),
    *("forced", "restores", "replays", "replaces", "gates", "decision", "measures"),
    "fingerprint",  # of a run now; empty if that would not give the same
    *(
        "model",
        "libraries",
        "policy",
        "predictor",
    ),  # of the replayed rows: `replays` has the others'
    "quarantine",  # what is still in it
    *("challengers", "champion_run_id", "champion_model"),  # none scores what comes back
    "flag",  # arms are those of the base run, whatever a flag says now
}
"""Fields that are the replay's own."""


def write(lake: Lake, n_rows: int = 3_000) -> pd.DataFrame:
    frame = make_frame(n_rows)
    frame.loc[MISSING, "b"] = None
    frame.loc[INFINITE, "c"] = np.inf
    lake.write(DAY, frame.iloc[:1_500], "a", row_group_size=400)
    lake.write(DAY, frame.iloc[1_500:], "b", row_group_size=700)
    return frame


def again(lake: Lake, job: Any, **options: Any) -> Manifest:
    from datetime import UTC, datetime

    return replay(job, DAY, pool=lake.pool, cache=lake.cache, now=datetime.now(UTC), **options)


@pytest.mark.parametrize("keys", [["id"], []], ids=["keys", "positions"])
def test_rows_come_back_to_their_places(
    any_lake: Lake, models: dict[str, KnownModel], keys: list[str]
) -> None:
    frame = write(any_lake)
    then = any_lake.run(any_lake.job(keys=keys, pass_through=["count"], **STRICT))
    assert then.counts.rows_quarantined == len(MISSING) + len(INFINITE)
    job = any_lake.job(keys=keys, pass_through=["count"], **MISSING_PASSES)

    manifest = again(any_lake, job)

    assert (manifest.error, manifest.status, manifest.replays) == (None, "published", then.run_id)
    assert manifest.counts.model_dump() == {
        "rows_in": 3_000,
        "rows_scored": 2_998,
        "rows_quarantined": 2,
    }
    published = any_lake.read(job)
    if job.output.format == "parquet":
        left = frame.drop(index=INFINITE)
        assert published["count"].tolist() == left["count"].tolist(), (
            "not in the order of the input"
        )
    if keys:
        published = published.sort_values("id", ignore_index=True)
    else:
        published = published.sort_values(["source_file", "source_row"], ignore_index=True)
        assert published["source_row"].tolist() == [
            i for i in range(1_500) if i not in INFINITE
        ] + list(range(1_500))
    left = frame.drop(index=INFINITE)
    own = models["hgb_binary"].estimator.predict_proba(left[NUMBERS])[:, 1]
    assert np.array_equal(published["probability"], own)
    assert published["run_id"].value_counts().to_dict() == {then.run_id: 2_991, manifest.run_id: 7}
    kept = quarantined(job, manifest)
    assert kept["id"].tolist() == INFINITE
    assert kept["_source_row"].tolist() == INFINITE
    assert set(kept["_source_file"]) == {f"ds={DAY}/a.parquet"}
    assert list(kept.columns) == list(quarantined(any_lake.job(), then).columns)
    store = predictions_store(job)
    live = [e.path for e in store.list_files() if manifest.run_id in e.path]
    is_sealed = job.output.format == "parquet"  # an object that every publication replaces
    assert live == ([] if is_sealed else [file.path for file in manifest.output.files])
    assert any_lake.run(job).status == "unchanged"
    assert verify(job, DAY, any_lake.pool, any_lake.cache, 3_000, 0).is_sound
    loosest = any_lake.job(keys=keys, pass_through=["count"], **STRICT | {"policy": {}})
    assert again(any_lake, loosest).status == "published"
    assert len(any_lake.read(job)) == 3_000


def test_a_replay_that_rescues_no_row_publishes_nothing(any_lake: Lake) -> None:
    write(any_lake)
    job = any_lake.job(**STRICT)
    then = any_lake.run(job)
    before = {entry.path for entry in state_store(job).list_files()}

    manifest = again(any_lake, job)

    assert (manifest.run_id, manifest.status) == (then.run_id, "unchanged")
    assert manifest.warnings[-1].startswith(
        "none of the 9 rows in quarantine can be scored under the job as it is now, so nothing new "
        "was published: b: null in 7 rows"
    )
    assert {entry.path for entry in state_store(job).list_files()} == before
    assert any_lake.run(job).status == "unchanged"


def test_every_field_of_a_replay_s_record_is_decided(lake: Lake) -> None:
    named = [name for group in (OF_THE_BASE_RUN, OF_BOTH, OF_THE_REPLAY) for name in group]
    assert sorted(named) == sorted(Manifest.model_fields), "decide who fills a new field"

    write(lake)
    lake.features.write_bytes(f"ds={DAY}/notes.txt", b"left out")
    source = {"uri": lake.features.uri, "files": "*.parquet"}
    sampled = {"estimate": {"sample_rows": 2_000}}
    base = lake.run(lake.job(input=source, **STRICT, **sampled))
    assert base.inputs.files_left_out == 1
    assert base.drift is not None

    manifest = again(lake, lake.job(input=source, **MISSING_PASSES, **sampled))
    assert manifest.error is None
    for name in OF_THE_BASE_RUN:
        assert getattr(manifest, name) == getattr(base, name), name

    assert manifest.in_order
    assert manifest.counts.rows_in == base.counts.rows_in
    assert manifest.counts.rows_scored == base.counts.rows_scored + len(MISSING)
    assert sum(file.rows for file in manifest.output.files) == manifest.counts.rows_scored
    for column in manifest.columns:
        rows = manifest.counts.rows_in if column.role == "feature" else manifest.counts.rows_scored
        assert column.rows == rows, column.name

    assert manifest.sample is not None
    paths = [file.path for file in manifest.sample.files]
    rows_of_sample = read_samples(state_store(lake.job()), paths, manifest.sample.rows)
    assert rows_of_sample is not None
    hashes = row_hashes([pa.array(lake.read(lake.job())["id"])])
    assert rows_of_sample.column(KEY_HASH).to_pylist() == sorted(hashes)[:2_000]


def test_a_replay_without_the_input_puts_rows_at_the_end(lake: Lake) -> None:
    frame = write(lake)
    lake.run(lake.job(**STRICT))
    lake.features.delete([entry.path for entry in lake.features.list_files()])

    manifest = again(lake, lake.job(**MISSING_PASSES))

    assert (manifest.status, manifest.fingerprint) == ("published", "")
    assert sorted(lake.read(lake.job())["id"]) == sorted(frame.drop(index=INFINITE)["id"])


def test_after_a_replay_without_the_input_rows_are_placed_by_no_input(lake: Lake) -> None:
    frame = write(lake)
    files = {
        entry.path: lake.features.read_bytes(entry.path) for entry in lake.features.list_files()
    }
    stats = {path: os.stat(lake.features.locate(path)) for path in files}
    lake.run(lake.job(**STRICT))
    lake.features.delete(list(files))
    again(lake, lake.job(**MISSING_PASSES))
    for path, content in files.items():  # the input is back, the same as ever
        lake.features.write_bytes(path, content)
        os.utime(lake.features.locate(path), ns=(stats[path].st_atime_ns, stats[path].st_mtime_ns))
    job = lake.job(**STRICT | {"policy": {}})

    manifest = again(lake, job)

    assert (manifest.status, manifest.in_order, manifest.fingerprint) == ("published", False, "")
    assert sorted(lake.read(job)["id"]) == sorted(frame["id"])
    verification = verify(job, DAY, lake.pool, lake.cache, 3_000, 0)
    assert (verification.findings, verification.n_rows) == ((), 0)
    assert lake.run(job).status == "published"


def test_a_replay_under_a_stricter_policy_is_no_whole_run(lake: Lake) -> None:
    write(lake)
    lake.run(lake.job(**STRICT | {"policy": {"infinite": "quarantine"}}))
    job = lake.job(**STRICT | {"policy": {"missing": "quarantine"}})
    manifest = again(lake, job)
    assert (manifest.status, manifest.fingerprint) == ("published", "")
    verification = verify(job, DAY, lake.pool, lake.cache, 3_000, 0)
    assert (verification.findings, verification.n_rows) == ((), 3_000 - len(MISSING))
    assert lake.run(job).counts.rows_quarantined == len(MISSING)


def test_a_share_is_of_the_partition_s_rows(lake: Lake) -> None:
    write(lake)
    share = {"max_quarantined_rows": 0, "max_quarantined_share": 0.01}
    then = lake.run(lake.job(limits=share, policy=STRICT["policy"]))
    assert then.counts.rows_quarantined == 9
    manifest = again(lake, lake.job(limits=share, policy=MISSING_PASSES["policy"]))
    assert (manifest.error, manifest.counts.rows_quarantined) == (None, 2)


def test_a_model_without_names_gets_its_columns(lake: Lake, models: dict[str, KnownModel]) -> None:
    frame = make_frame(100)[["id", *NUMBERS]]
    frame.loc[5, "b"] = 1e300
    lake.write(DAY, frame)
    limits = {"max_quarantined_rows": 5}
    job = lake.job("logistic_numpy", limits=limits, policy={"overflow": "quarantine"}, features=[])
    assert lake.run(job).counts.rows_quarantined == 1
    job = lake.job("logistic_numpy", limits=limits, features=[])
    assert again(lake, job).counts.rows_quarantined == 0
    own = models["logistic_numpy"].estimator.predict(frame[NUMBERS].to_numpy())
    assert np.array_equal(lake.read(job).sort_values("id")["prediction"], own)


def test_another_model_version_is_refused_unless_asked_for(lake: Lake) -> None:
    write(lake)
    lake.run(lake.job(**STRICT))
    job = lake.job("hgb_ints", **MISSING_PASSES)

    refused = again(lake, job)
    assert refused.error
    assert refused.error.type == "InvalidJobError"
    assert "--new-model" in refused.error.message
    manifest = again(lake, job, allow_new_model=True)
    assert manifest.status == "published"
    assert (manifest.model.name, manifest.fingerprint) == ("hgb_ints", "")
    verification = verify(job, DAY, lake.pool, lake.cache, 3_000, 0)
    assert (verification.findings, verification.n_rows) == ((), len(MISSING) + len(INFINITE)), (
        "the others are another model's"
    )
    assert len(lake.read(job)) == 3_000, "this model does not look at the column that is infinite"


def test_what_cannot_be_replayed_says_why(lake: Lake) -> None:
    job = lake.job(**STRICT)
    with pytest.raises(PartitionNotFoundError, match="Nothing is published"):
        again(lake, job)
    write(lake)
    then = lake.run(job)

    columns = again(lake, lake.job(pass_through=["count"], **MISSING_PASSES))
    assert columns.error
    assert "count: not there in the published rows, int64 now" in columns.error.message
    limits = again(
        lake, lake.job(limits={"max_quarantined_rows": 1}, policy=MISSING_PASSES["policy"])
    )
    assert limits.error
    assert limits.error.type == "QuarantineLimitError"
    path = Path(lake.root) / "predictions.nightscore" / then.quarantine.files[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    damaged = again(lake, lake.job(**MISSING_PASSES))
    assert damaged.error
    assert "has another checksum" in damaged.error.message
    assert len(lake.read(job)) == 3_000 - len(MISSING) - len(INFINITE)
    assert not [e for e in predictions_store(job).list_files() if damaged.run_id in e.path]


def test_gates_look_at_the_whole_partition(lake: Lake) -> None:
    frame = write(lake)
    frame.loc[400, "id"] = 5  # a row in quarantine has the key of one that is published
    lake.write(DAY, frame.iloc[:1_500], "a", row_group_size=400)
    unique = {"keys": {"columns": ["id"], "unique": True}}
    assert lake.run(lake.job(**STRICT, **unique)).status == "published"
    manifest = again(lake, lake.job(**MISSING_PASSES, **unique))
    assert manifest.error
    assert manifest.error.type == "GateError"
    assert "id=5 (2 times)" in manifest.error.message


def test_by_command(lake: Lake, tmp_path: Path) -> None:
    write(lake)
    path = str(save(lake.job(**STRICT), tmp_path))
    answer(lake, "run", path, DAY)
    refused = nightscore(lake, "replay", path, DAY)
    assert refused.returncode == 0
    assert refused.stdout.startswith(f"{DAY}: none of the 9 rows in quarantine can be scored")
    save(lake.job(**MISSING_PASSES), tmp_path)
    assert answer(lake, "replay", path, DAY)["counts"]["rows_quarantined"] == 2
    save(lake.job(**STRICT | {"policy": {}}), tmp_path)
    assert answer(lake, "replay", path, DAY)["counts"]["rows_quarantined"] == 0
    shown = nightscore(lake, "replay", path, DAY)
    assert (shown.returncode, shown.stdout) == (0, f"{DAY}: no rows are in quarantine\n")
    (live, *_) = answer(lake, "history", path, DAY)
    assert json.dumps(live).count("seen now") == 1


@pytest.mark.parametrize("seed", range(5))
def test_merging_keeps_any_order(tmp_path: Path, seed: int) -> None:
    from nightscore.outputs.merge import Merge, merge_rows
    from nightscore.storage.store import Store

    rng = np.random.default_rng(seed)
    n_rows = int(rng.integers(1, 400))
    is_new = rng.random(n_rows) < rng.random()
    places = np.arange(n_rows)
    before = places[is_new] - np.arange(is_new.sum())
    schema = pa.schema([("place", pa.int64()), ("name", pa.dictionary(pa.int32(), pa.string()))])
    for name, chosen in (("old", places[~is_new]), ("new", places[is_new])):
        table = pa.table({"place": chosen, "name": pa.array([name] * len(chosen), pa.string())})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=37)
    order = rng.permutation(int(is_new.sum()))
    new = pq.read_table(tmp_path / "new.parquet").take(order)
    pq.write_table(new, tmp_path / "new.parquet")
    store = Store(str(tmp_path))
    ranks, before = places[is_new][order], before[order]
    merge = Merge(
        store=store,
        old=("old.parquet",),
        new=("new.parquet",),
        places=ranks,
        before=before,
        path="all.parquet",
        schema=schema,
        keep_types=True,
        metadata={},
    )

    part = merge_rows(merge)

    merged = pq.read_table(tmp_path / "all.parquet")
    assert part.file.rows == n_rows
    assert merged["place"].to_pylist() == places.tolist()
    assert merged["name"].to_pylist() == np.where(is_new, "new", "old").tolist()


def test_the_state_folder_is_left_tidy(any_lake: Lake) -> None:
    write(any_lake)
    any_lake.run(any_lake.job(**STRICT))
    job = any_lake.job(**MISSING_PASSES)
    again(any_lake, job)
    left = {e.path.split("/")[0] for e in state_store(job).list_files()}
    assert left <= {"runs", "quarantine", "sealed", "profiles", "drift"}
