"""What every worker backend does: this machine's processes, and one that the test brings.

Clusters keep it in `tests/engine/clusters/test_contract.py`.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, get_args

import pandas as pd
import pytest

from nightscore.engine.events import Event, RunPlanned, ShardScored
from nightscore.engine.pool import Pool
from nightscore.engine.worker_backend_catalog import BACKENDS, open_pool
from nightscore.errors import InputError, InterruptedRunError
from nightscore.models.cache import ModelCache
from nightscore.runs.run import run
from nightscore.schemas.job import Workers
from tests.fakes.pool import InProcessPool
from tests.support.lake import Lake
from tests.support.models import make_frame

T = TypeVar("T")
DAY = "2024-02-29"
N_FILES, N_ROWS = 3, 2_000


@pytest.fixture(scope="module", params=["in-process", pytest.param("loky", marks=pytest.mark.slow)])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """The `workers` of a job for each backend of this machine."""
    name: str = request.param
    if name == "loky":
        yield Workers()
        return

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKENDS, name, lambda _: InProcessPool())
        yield Workers.model_construct(backend=name, count=None, address=None)


@pytest.fixture(scope="module")
def opened(workers: Workers) -> Iterator[Pool]:
    """A pool of all tests that leave it as they find it."""
    with open_pool(workers) as pool:
        yield pool


@pytest.fixture
def own_pool(workers: Workers) -> Iterator[Pool]:
    """A pool to stop or to kill."""
    with open_pool(workers) as pool:
        yield pool


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightscore.engine.planning.shards.MIN_SHARD_ROWS", 1_000)


def write_day(lake: Lake) -> pd.DataFrame:
    frames = [make_frame(N_ROWS, seed) for seed in range(N_FILES)]
    for index, frame in enumerate(frames):
        lake.write(DAY, frame, f"part-{index}", row_group_size=1_000)
    return pd.concat(frames, ignore_index=True)


def in_order(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions.drop(columns="run_id").sort_values("id", ignore_index=True)


def refuse(what: str) -> None:
    raise InputError(f"There is no {what}.")


def test_each_backend_of_the_schema_can_be_opened_and_no_other() -> None:
    assert set(BACKENDS) == set(get_args(Workers.model_fields["backend"].annotation))


@pytest.mark.usefixtures("small_shards")
def test_a_run_scores_each_row_once_and_as_local_processes_do(
    lake: Lake, opened: Pool, tmp_path: Path
) -> None:
    frame = write_day(lake)
    job = lake.job(engine="library")
    # A cache of its own: what this process measures of a model is wrong for workers.
    cache = ModelCache(tmp_path / "cache")
    events: list[Event] = []
    manifest = run(
        job,
        DAY,
        pool=opened,
        cache=cache,
        now=datetime.now(UTC),
        listeners=[events.append],
    )
    assert manifest.error is None, manifest.error
    assert manifest.counts.rows_scored == len(frame)

    (planned,) = [event for event in events if isinstance(event, RunPlanned)]
    scored = [event for event in events if isinstance(event, ShardScored)]
    assert sorted(event.index for event in scored) == list(range(planned.n_shards))
    assert sum(event.n_rows for event in scored) == len(frame)
    assert opened.cpu_s_by_pid

    local = replace(lake, root=f"{lake.root}-local")
    write_day(local)
    local_job = local.job(engine="library")
    assert local.run(local_job, DAY).error is None
    pd.testing.assert_frame_equal(
        in_order(lake.read(job)), in_order(local.read(local_job)), check_exact=True
    )


def test_a_call_gives_what_the_function_gives(opened: Pool) -> None:
    opened.prepare(1)
    assert opened.call(divmod, 17, 5) == (3, 2)
    assert opened.call(divmod, 17, 5, timeout_s=60.0) == (3, 2)


def test_an_error_of_ours_comes_back_as_it_was_raised(opened: Pool) -> None:
    with pytest.raises(InputError, match="There is no footer"):
        opened.call(refuse, "footer")


def test_no_shards_have_no_results(opened: Pool) -> None:
    assert not list(opened.score([], 2, 60.0, lambda task: None))


def test_there_is_room_for_a_shard(opened: Pool) -> None:
    assert opened.capacity >= 1


def test_a_pool_that_is_stopped_stays_stopped_and_says_why(own_pool: Pool) -> None:
    assert not own_pool.is_stopped
    own_pool.stop("was cancelled")
    assert own_pool.is_stopped
    with pytest.raises(InterruptedRunError, match="was cancelled"):
        own_pool.call(divmod, 17, 5)


def test_what_is_killed_can_be_used_again(own_pool: Pool) -> None:
    assert own_pool.call(divmod, 17, 5) == (3, 2)
    own_pool.kill()
    assert own_pool.call(divmod, 17, 5) == (3, 2)


def test_nothing_is_started_before_the_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr("nightscore.engine.executor.open_executor", started.append)
    monkeypatch.setattr("nightscore.engine.backends.dask.DaskCluster", started.append)
    monkeypatch.setattr("nightscore.engine.backends.ray.RayCluster", started.append)
    for name in ("loky", "dask", "ray"):
        address = None if name == "loky" else "tcp://127.0.0.1:1"
        with open_pool(Workers(backend=name, address=address)) as pool:
            assert not pool.is_stopped
    assert not started
