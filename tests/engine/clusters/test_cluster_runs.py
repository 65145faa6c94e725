"""The same shards on a Dask and on a Ray cluster: equal to the bit, counted once, told as they finish."""

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest

from nightscore.arrow.assignment import Assignment
from nightscore.engine.events import Event, RunPlanned, ShardLost, ShardScored
from nightscore.engine.model_facts import learn_facts
from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import open_pool
from nightscore.errors import InterruptedRunError
from nightscore.ledger.workspace import Workspace
from nightscore.models.pinned import PinnedModel
from nightscore.operations.replay import replay
from nightscore.runs.run import run
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob, Workers
from nightscore.schemas.manifest import Manifest
from tests.engine.clusters.conftest import RunningCluster, children, until
from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame, register, with_nulls
from tests.support.seaweedfs import S3Server

pytestmark = pytest.mark.s3
DAY = "2024-02-29"
N_FILES, N_ROWS = 6, 3_000


@pytest.fixture(autouse=True)
def _many_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightscore.engine.planning.shards.MIN_SHARD_ROWS", 1_000)


@pytest.fixture(params=["dask", "ray"])
def cluster(request: pytest.FixtureRequest) -> RunningCluster:
    """Each kind; the connection to Ray is one for all tests."""
    name = {"dask": "dask", "ray": "connected_ray"}[request.param]
    running: RunningCluster = request.getfixturevalue(name)
    return running


def write_day(lake: Lake) -> pd.DataFrame:
    """A partition of several shards."""
    frames = [with_nulls(make_frame(N_ROWS, seed), seed) for seed in range(N_FILES)]
    for index, frame in enumerate(frames):
        lake.write(DAY, frame, f"part-{index}", row_group_size=1_000)
    return pd.concat(frames, ignore_index=True)


def score(
    lake: Lake, pool: Pool, job: ScoringJob, *heard: list[Event], force: bool = False
) -> Manifest:
    now = datetime.now(UTC)
    listeners = [events.append for events in heard]
    return run(job, DAY, pool=pool, cache=lake.cache, now=now, force=force, listeners=listeners)


def assert_same(published: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Every bit but the run's id."""
    left, right = (
        f.drop(columns="run_id").sort_values("id", ignore_index=True) for f in (published, expected)
    )
    pd.testing.assert_frame_equal(left, right, check_exact=True)


@pytest.mark.parametrize(
    ("formats", "engine"),
    [
        pytest.param("delta", "auto", marks=pytest.mark.slow),
        pytest.param("parquet", "library", marks=pytest.mark.thorough),
    ],
)
def test_a_cluster_gives_what_this_machine_gives(
    cluster: RunningCluster, cluster_lake: Lake, s3_server: S3Server, formats: str, engine: str
) -> None:
    frame = write_day(cluster_lake)
    cluster_lake.formats = formats
    events: list[Event] = []
    job = cluster_lake.job(engine=engine, workers=cluster.spec())
    with open_pool(job.workers) as pool:
        manifest = score(cluster_lake, pool, job, events)
    assert manifest.error is None, manifest.error
    assert manifest.counts.rows_scored == len(frame)
    assert manifest.predictor is not None
    assert manifest.predictor.engine == ("library" if engine == "library" else "compiled")
    published = cluster_lake.read(job)
    here = replace(cluster_lake, options=s3_server.options)
    apart = here.job(engine=engine)
    assert here.run(apart, DAY, force=True).error is None
    assert_same(published, here.read(apart))

    (planned,) = [event for event in events if isinstance(event, RunPlanned)]
    scored = [event for event in events if isinstance(event, ShardScored)]
    assert planned.n_workers == 2
    assert len(scored) == planned.n_shards > 2
    assert sum(event.n_rows for event in scored) == len(frame)


@pytest.mark.slow
@pytest.mark.thorough
def test_a_challenger_travels_with_the_shards(
    cluster: RunningCluster, cluster_lake: Lake, s3_server: S3Server
) -> None:
    frame = write_day(cluster_lake)
    challenger = {"challenger": "models:/logistic/1"}
    changes = {"release": challenger, "limits": {"max_quarantined_share": 0.5}}
    job = cluster_lake.job(workers=cluster.spec(), **changes)
    with open_pool(job.workers) as pool:
        manifest = score(cluster_lake, pool, job)

    assert manifest.error is None, manifest.error
    assert manifest.counts.rows_scored == len(frame)
    (record,) = manifest.challengers
    assert record.status == "published", manifest.warnings
    assert 0 < record.rows_refused_alone == len(frame) - record.rows

    here = replace(cluster_lake, options=s3_server.options)
    apart = here.job(**changes)
    own = cluster_lake.read(challenger_jobs(job)["1"])
    assert here.run(apart, DAY, force=True).error is None
    assert_same(own, here.read(challenger_jobs(apart)["1"]))


@pytest.mark.slow
@pytest.mark.thorough
def test_a_replay_on_a_cluster_keeps_the_arms_of_a_canary(
    cluster: RunningCluster, cluster_lake: Lake, registry_root: Path, tmp_path: Path
) -> None:
    lake = replace(cluster_lake, registry=copy_registry(registry_root, tmp_path / "registry"))
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    register(client, "hgb_binary", registry_root / "models" / "hgb_categories")
    frame = make_frame(N_ROWS)
    frame.loc[:39, "a"] = np.nan
    lake.write(DAY, frame)

    canary = {"challenger": "models:/hgb_binary/2", "mode": "canary", "share": 0.5, "salt": "one"}
    changes = {
        "workers": cluster.spec(),
        "release": canary,
        "limits": {"max_quarantined_rows": 100},
    }
    strict = lake.job(policy={"missing": "quarantine"}, **changes)
    passing = lake.job(**changes)

    with open_pool(strict.workers) as pool:
        first = score(lake, pool, strict)
        assert first.error is None, first.error
        replayed = replay(passing, DAY, pool=pool, cache=lake.cache, now=datetime.now(UTC))

    assert first.counts.rows_quarantined == 40
    assert (replayed.status, replayed.counts.rows_scored) == ("published", N_ROWS), replayed.error
    assert not [note for note in replayed.warnings if "of the job's own model" in note]
    rows = lake.read(passing)
    rule = Assignment(by=("id",), salt="one", share=0.5)
    arm = rule.arm(pa.table({"id": rows["id"]}))
    is_back = (rows["id"] < 40).to_numpy()
    assert 0 < arm[is_back].sum() < 40
    assert (rows["model_version"].astype(str) == np.where(arm, "2", "1")).all()
    assert not Workspace(passing).state.list_files("staging")


@pytest.mark.slow
def test_shards_of_a_worker_that_is_killed_are_scored_elsewhere(
    cluster: RunningCluster, cluster_lake: Lake
) -> None:
    frame = write_day(cluster_lake)
    job = cluster_lake.job(workers=cluster.spec(), drift={"profile": False})
    with open_pool(
        job.workers
    ) as pool:  # what the model is stands in the cache then: there are no calls but shards
        learn_facts(PinnedModel.resolve(job, cluster_lake.cache), cluster_lake.cache, pool)
    events: list[Event] = []
    frozen: list[psutil.Process] = []
    killed: list[psutil.Process] = []
    with cluster.to_lose() as below, open_pool(job.workers) as pool:
        assert pool.capacity >= 2

        def kill_one(event: Event) -> None:
            events.append(event)
            if isinstance(event, RunPlanned):
                threading.Thread(target=freeze_one, args=(below, frozen), daemon=True).start()
            if isinstance(event, ShardScored) and not killed:
                (parent,) = until(lambda: frozen)
                killed.append(parent)
                lose(parent)

        manifest = run(
            job,
            DAY,
            pool=pool,
            cache=cluster_lake.cache,
            now=datetime.now(UTC),
            listeners=[kill_one],
        )
    assert manifest.error is None, manifest.error
    lost = [event for event in events if isinstance(event, ShardLost)]
    assert [event.attempt for event in lost] == [1]
    assert manifest.counts.rows_scored == len(frame)
    published = cluster_lake.read(job)
    assert sorted(published.id) == sorted(frame.id)
    attempts = {
        int(match[1]): int(match[2])
        for file in manifest.output.files
        if (match := re.search(r"-(\d+)-(\d+)\.parquet$", file.path))
    }
    assert attempts[lost[0].index] == 1
    assert sum(attempts.values()) == 1


def freeze_one(below: int, frozen: list[psutil.Process]) -> None:
    """Keep the first child that starts to score from finishing."""
    child = until(lambda: next(iter(children(below)), None))
    child.suspend()
    frozen.append(child)


def lose(child: psutil.Process) -> None:
    """Kill the cluster's process that has started it."""
    parent = child.parent()
    assert parent is not None
    parent.kill()
    child.kill()


def wait_for_ever() -> None:
    threading.Event().wait()


def test_what_is_cancelled_ends_on_the_cluster(cluster: RunningCluster, cluster_lake: Lake) -> None:
    job = cluster_lake.job(workers=cluster.spec())
    ends: list[BaseException] = []
    with open_pool(job.workers) as pool:

        def call() -> None:
            try:
                pool.call(wait_for_ever)
            except InterruptedRunError as error:
                ends.append(error)

        for idle in cluster.children():
            idle.kill()
        threads = [threading.Thread(target=call) for _ in range(4)]  # two run, two are queued
        for thread in threads:
            thread.start()
        busy = until(lambda: len(children := cluster.children()) >= 2 and children)
        pool.stop("was cancelled")
        for thread in threads:
            thread.join(20)
        _, alive = psutil.wait_procs(busy, 10)
    assert len(ends) == 4
    assert not alive
    assert not cluster.children()


def test_nothing_is_connected_before_it_is_used() -> None:
    with open_pool(Workers(backend="dask", address="tcp://127.0.0.1:1")) as pool:
        assert not pool.is_stopped
