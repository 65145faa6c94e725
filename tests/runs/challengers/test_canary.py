"""A canary: readers see two models in one table, and nothing that goes wrong costs them a row."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from nightscore.arrow.assignment import Assignment
from nightscore.engine.base_pool import BasePool
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.operations.check import check_model
from nightscore.operations.replay import replay
from nightscore.operations.rollback import plan_rollback, roll_back
from nightscore.operations.verify import verify
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from tests.support.lake import Lake
from tests.support.models import STRINGS, KnownModel, copy_registry, make_frame, register

DAY = "2024-02-29"
N_ROWS = 400
OTHER_VERSIONS = {
    "hgb_multi": "2",
    "pipeline_strict": "3",
    "hgb_categories": "4",
    "hgb_regressor": "5",
}
"""Models that stand in as further versions of `hgb_binary`, beside version 1."""


@pytest.fixture(scope="module")
def versions(
    tmp_path_factory: pytest.TempPathFactory, registry_root: Path, models: dict[str, KnownModel]
) -> str:
    """A registry in which `hgb_binary` has several versions."""
    root = tmp_path_factory.mktemp("versions")
    uri = copy_registry(registry_root, root)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    for name, version in OTHER_VERSIONS.items():
        assert register(client, "hgb_binary", registry_root / "models" / name) == version
    return uri


@pytest.fixture
def canary_lake(tmp_path: Path, versions: str, pool: BasePool, cache: ModelCache) -> Lake:
    lake = Lake(str(tmp_path / "lake"), {}, versions, pool, cache, formats="parquet")
    lake.write(DAY, make_frame(N_ROWS))
    return lake


def canary_job(lake: Lake, version: str = "4", **changes: Any) -> ScoringJob:
    """A job whose challenger is a version of the same model."""
    release = {
        "challenger": f"models:/hgb_binary/{version}",
        "mode": "canary",
        "share": 0.25,
        "salt": "2024-02",
    }
    release |= changes.pop("release", {})
    return lake.job(release=release, **changes)


def arm_of(lake: Lake, job: ScoringJob, rows: pd.DataFrame) -> Any:
    """Which of some published rows are of the challenger's arm."""
    import pyarrow as pa

    assert job.release is not None and job.release.share is not None and job.release.salt
    rule = Assignment(by=("id",), salt=job.release.salt, share=job.release.share)
    return rule.arm(pa.table({"id": rows["id"]}))


def published(lake: Lake, job: ScoringJob) -> pd.DataFrame:
    return lake.read(job).sort_values("id", ignore_index=True)


def own_probability(models: dict[str, KnownModel], name: str, rows: pd.DataFrame) -> Any:
    """What a model itself says of some published rows."""
    frame = make_frame(N_ROWS).astype(dict.fromkeys(STRINGS, "category"))
    features = frame.set_index("id").loc[rows["id"], models[name].columns]
    return models[name].estimator.predict_proba(features)[:, 1]


def test_each_row_has_the_prediction_of_the_model_of_its_arm(
    canary_lake: Lake, models: dict[str, KnownModel]
) -> None:
    job = canary_job(canary_lake)
    manifest = canary_lake.run(job)
    assert manifest.status == "published", manifest.error

    rows = published(canary_lake, job)
    arm = arm_of(canary_lake, job, rows)
    assert len(rows) == N_ROWS and 50 < arm.sum() < 150
    assert (rows["model_version"] == np.where(arm, "4", "1")).all()
    assert set(rows["run_id"]) == {manifest.run_id}

    ours, theirs = rows[~arm], rows[arm]
    assert (ours["probability"] == own_probability(models, "hgb_binary", ours)).all()
    assert (theirs["probability"] == own_probability(models, "hgb_categories", theirs)).all()

    canary = manifest.canary
    assert canary is not None and canary.rows == arm.sum() and canary.rows_refused_alone == 0
    assert (canary.version, canary.share, canary.by) == ("4", 0.25, ("id",))
    assert manifest.counts.rows_scored == N_ROWS

    # The challenger's own table has its arm, and the champion's predictions beside its own.
    (own_job,) = challenger_jobs(job).values()
    own = published(canary_lake, own_job)
    assert own["id"].tolist() == theirs["id"].tolist()
    assert own["probability"].tolist() == theirs["probability"].tolist()
    (beside,) = manifest.challengers
    assert beside.difference is not None and beside.difference.n == arm.sum()
    assert (beside.mode, beside.rows) == ("canary", arm.sum())
    expected = own_probability(models, "hgb_binary", own)
    assert (own["champion_probability"] == expected).all()


def test_an_arm_without_rows_is_no_alarm(canary_lake: Lake) -> None:
    job = canary_job(canary_lake, release={"share": 0.0001})
    for _ in range(2):  # the first night's findings must not end the canary
        manifest = canary_lake.run(job, force=True)

    assert manifest.canary is not None and manifest.canary.rows == 0
    assert str(manifest.canary).endswith("no row of this partition is of its arm")
    (record,) = manifest.challengers
    assert (record.status, record.rows) == ("published", 0)
    assert record.text.endswith("scored no row: none of this partition is of its arm")
    assert not any("challenger" in note or "canary" in note for note in manifest.warnings)
    assert set(published(canary_lake, job)["model_version"]) == {"1"}
    assert canary_lake.run(job).status == "unchanged"
    assert verify(job, DAY, canary_lake.pool, canary_lake.cache, N_ROWS, seed=0).is_sound


def test_the_arms_of_a_published_partition_stay(canary_lake: Lake) -> None:
    first = canary_lake.run(canary_job(canary_lake))
    again = canary_lake.run(canary_job(canary_lake, release={"share": 0.5}))
    assert (again.status, again.run_id) == ("unchanged", first.run_id)

    alone = canary_lake.run(canary_lake.job())
    assert (alone.status, alone.run_id) == ("unchanged", first.run_id)

    forced = canary_lake.run(canary_job(canary_lake, release={"share": 0.5}), force=True)
    assert forced.canary is not None and forced.canary.share == 0.5
    assert forced.fingerprint != first.fingerprint
    assert forced.work == first.work


def test_rows_that_only_the_challenger_refuses_are_the_champions(canary_lake: Lake) -> None:
    frame = make_frame(N_ROWS)
    frame.loc[5, "color"] = "ultraviolet"  # the strict pipeline knows no such color
    limits = {"max_quarantined_rows": 3}
    canary_lake.write(DAY, frame)
    job = canary_job(canary_lake, "3", release={"share": 1.0}, limits=limits)

    manifest = canary_lake.run(job)
    assert manifest.canary is not None, manifest.warnings
    assert manifest.canary.rows_refused_alone == 1
    assert manifest.canary.rows == N_ROWS - 1 and manifest.counts.rows_quarantined == 0

    rows = published(canary_lake, job)
    assert rows.loc[rows["model_version"] == "1", "id"].tolist() == [5]


def test_check_says_why_a_canary_cannot_stand_in_one_table(canary_lake: Lake) -> None:
    job = canary_job(canary_lake, "2")

    checks = check_model(job, canary_lake.cache, canary_lake.pool)

    (check,) = [check for check in checks if check.name == "challengers"]
    (warning,) = [one for one in check.warnings if "would not score" in one]
    assert "cannot stand in one table with the job's own model" in warning


@pytest.mark.parametrize(
    ("version", "changes", "why"),
    [
        ("2", {}, "cannot stand in one table"),
        ("5", {}, "prediction is int64 of the job's own model, double of the challenger"),
        ("9", {}, "did not score"),
        ("3", {"ultraviolet": True}, "refused 2 rows of its arm"),
        ("3", {"without": "size"}, "does not fit the model"),
    ],
    ids=["other classes", "other columns", "no such version", "above the limits", "contract"],
)
def test_a_challenger_that_cannot_stand_beside_costs_no_row(
    canary_lake: Lake, version: str, changes: dict[str, Any], why: str
) -> None:
    frame = make_frame(N_ROWS)
    if changes.get("ultraviolet"):
        frame.loc[[5, 300], "color"] = "ultraviolet"
    if "without" in changes:
        frame = frame.drop(columns=changes["without"])
    canary_lake.write(DAY, frame)

    job = canary_job(canary_lake, version, release={"share": 1.0})
    manifest = canary_lake.run(job)
    assert manifest.status == "published", manifest.error
    assert manifest.canary is None

    alone = canary_lake.job()
    rows = published(canary_lake, job)
    assert len(rows) == N_ROWS and set(rows["model_version"]) == {"1"}
    assert why in " ".join(manifest.warnings)
    assert canary_lake.run(alone).status == "unchanged"


def test_a_challenger_that_ends_leaves_none_of_its_rows_in_any_shard(
    canary_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other shards had its rows already: they are scored again."""
    monkeypatch.setattr("nightscore.engine.planning.shards.MIN_SHARD_ROWS", 1_000)
    n_rows = 3_000
    frame = make_frame(n_rows)
    frame.loc[2_500:, "color"] = "ultraviolet"
    canary_lake.write(DAY, frame.iloc[:1_000], "part-0")
    canary_lake.write(DAY, frame.iloc[1_000:2_000], "part-1")
    canary_lake.write(DAY, frame.iloc[2_000:], "part-2")

    job = canary_job(canary_lake, "3", workers=2, release={"share": 0.9})
    manifest = canary_lake.run(job)
    assert manifest.status == "published", manifest.error
    assert manifest.canary is None and manifest.measures.n_shards > 1

    rows = published(canary_lake, job)
    assert len(rows) == n_rows and set(rows["model_version"]) == {"1"}
    (challenger,) = manifest.challengers
    assert (challenger.mode, challenger.status) == ("canary", "failed")
    assert verify(canary_lake.job(), DAY, canary_lake.pool, canary_lake.cache, 64, 0).is_sound


def test_a_rollback_and_a_replay_keep_the_arms(canary_lake: Lake) -> None:
    frame = make_frame(N_ROWS)
    frame.loc[:6, "a"] = np.nan
    canary_lake.write(DAY, frame)
    limits, policy = {"max_quarantined_rows": 10}, {"missing": "quarantine"}
    job = canary_job(canary_lake, limits=limits, policy=policy)
    first = canary_lake.run(job)
    assert first.canary is not None and first.counts.rows_quarantined == 7

    passing = canary_job(canary_lake, limits=limits)
    now = datetime.now(UTC)
    pool, cache = canary_lake.pool, canary_lake.cache
    replayed = replay(passing, DAY, pool=pool, cache=cache, now=now)
    assert replayed.status == "published" and replayed.canary is not None
    assert replayed.canary.assigned == first.canary.assigned

    rows = published(canary_lake, job)
    before = rows["run_id"] == first.run_id
    assert (before.sum(), len(rows)) == (N_ROWS - 7, N_ROWS)
    arm = arm_of(canary_lake, job, rows)
    assert 0 < arm[:7].sum() < 7
    assert (rows["model_version"] == np.where(arm, "4", "1")).all()
    assert replayed.canary.rows == arm.sum()
    assert replayed.fingerprint and replayed.work
    assert verify(passing, DAY, pool, cache, N_ROWS, seed=0).is_sound
    assert canary_lake.run(passing).status == "unchanged"

    (item,) = plan_rollback(job, [DAY])
    assert item.target is not None
    restored = roll_back(job, DAY, item.target, item.live_run_id, now, cache)
    assert restored.canary is not None and restored.canary.assigned == first.canary.assigned
    assert canary_lake.run(job).status == "unchanged"
    assert verify(job, DAY, pool, cache, N_ROWS, seed=0).is_sound


def test_a_canary_is_verified_arm_by_arm(canary_lake: Lake) -> None:
    job = canary_job(canary_lake, "3")
    canary_lake.run(job)

    checked = verify(job, DAY, canary_lake.pool, canary_lake.cache, N_ROWS, seed=0)
    assert checked.is_sound and checked.n_rows == N_ROWS, checked.findings

    other_salt = canary_lake.job(release=None)
    workspace = Workspace(other_salt)
    (path,) = [one.path for one in workspace.state.list_files("runs") if "index" not in one.path]
    text = workspace.state.read_bytes(path).decode()
    workspace.state.write_bytes(path, text.replace('2024-02"', '2024-03"').encode())

    checked = verify(job, DAY, canary_lake.pool, canary_lake.cache, N_ROWS, seed=0)
    assert not checked.is_sound
    assert "model_version" in " ".join(finding.where for finding in checked.findings)


def test_the_arm_of_a_canary_is_verified_with_the_champions_table(canary_lake: Lake) -> None:
    """Its own table has other places, so only files are compared there, and a note says so."""
    job = canary_job(canary_lake)
    canary_lake.run(job)
    (own,) = challenger_jobs(job).values()

    checked = verify(own, DAY, canary_lake.pool, canary_lake.cache, N_ROWS, seed=0)

    assert checked.is_sound, checked.findings
    assert (checked.n_files, checked.n_rows) == (1, 0)
    assert "those of a canary's arm; `nightscore verify " in checked.note

    workspace = Workspace(own)
    (part,) = [one.path for one in workspace.predictions.list_files("")]
    content = bytearray(workspace.predictions.read_bytes(part))
    content[10] ^= 1
    workspace.predictions.write_bytes(part, bytes(content))
    checked = verify(own, DAY, canary_lake.pool, canary_lake.cache, N_ROWS, seed=0)
    assert [finding.kind for finding in checked.findings] == ["output damaged"]


def test_the_table_of_a_shadow_is_verified_row_by_row(canary_lake: Lake) -> None:
    job = canary_lake.job(release={"challenger": "models:/hgb_binary/4"})
    canary_lake.run(job)
    (own,) = challenger_jobs(job).values()

    checked = verify(own, DAY, canary_lake.pool, canary_lake.cache, N_ROWS, seed=0)

    assert checked.is_sound, checked.findings
    assert (checked.n_rows, checked.note) == (N_ROWS, "")
