"""The same shards on a Dask and on a Ray cluster: equal to the bit, counted once, told as they finish."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from schemas.job import Workers
from scoring.engine.events import Event, RunPlanned, ShardScored
from scoring.engine.pools import Pool, open_pool
from scoring.run import run
from tests.clusters.conftest import RunningCluster
from tests.conftest import Lake, S3Server
from tests.models import make_frame, with_nulls

pytestmark = pytest.mark.s3
DAY = "2024-02-29"
N_FILES, N_ROWS = 6, 3_000


def write_day(lake: Lake, n_files: int = N_FILES) -> pd.DataFrame:
    """Files that are shards of their own."""
    frames = [with_nulls(make_frame(N_ROWS, seed), seed) for seed in range(n_files)]
    for index, frame in enumerate(frames):
        lake.write(DAY, frame, f"part-{index}", row_group_size=1_000)
    return pd.concat(frames, ignore_index=True)


def score(lake: Lake, pool: Pool, job: Any, events: list[Event] | None = None) -> Any:
    listeners = [events.append] if events is not None else []
    return run(job, DAY, pool=pool, cache=lake.cache, now=datetime.now(UTC), listeners=listeners)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Every bit but the run's id."""
    left, right = (
        frame.drop(columns="run_id").sort_values("id").reset_index(drop=True) for frame in (found, expected)
    )
    pd.testing.assert_frame_equal(left, right, check_exact=True)


@pytest.mark.parametrize("formats", ["delta", "parquet"])
def test_a_cluster_gives_what_this_machine_gives(
    cluster: RunningCluster, cluster_lake: Lake, s3_server: S3Server, formats: str
) -> None:
    frame = write_day(cluster_lake)
    here = Lake(f"{cluster_lake.root}", s3_server.options, cluster_lake.registry, cluster_lake.pool, cluster_lake.cache)
    here.formats = cluster_lake.formats = formats
    events: list[Event] = []
    job = cluster_lake.job("hgb_binary", workers=cluster.spec())
    with open_pool(job.workers) as pool:
        manifest = score(cluster_lake, pool, job, events)
    assert manifest.status == "published", manifest.error
    assert manifest.counts.rows_scored == len(frame)
    found = cluster_lake.read(job)
    apart = {"output": {"uri": f"{here.root}/here", "format": formats, "storage_options": here.options}}
    own = here.job("hgb_binary", **apart)
    assert here.run(own, DAY).status == "published"
    here_lake = Lake(here.root, here.options, here.registry, here.pool, here.cache, formats)
    same(found, here_lake.read(own))
    planned = next(event for event in events if isinstance(event, RunPlanned))
    scored = [event for event in events if isinstance(event, ShardScored)]
    assert planned.n_workers == 2
    assert len(scored) == planned.n_shards > 2
    assert sum(event.n_rows for event in scored) == len(frame)
    assert manifest.measures.n_workers == 2


def test_nothing_is_connected_before_it_is_used() -> None:
    with open_pool(Workers(backend="dask", address="tcp://127.0.0.1:1")) as pool:
        assert not pool.is_stopped
