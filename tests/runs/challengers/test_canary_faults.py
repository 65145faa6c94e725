"""A canary whose challenger fails in a worker: the champion alone is published, for all rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from nightscore.engine.base_pool import BasePool
from nightscore.engine.shard import ShardResult
from nightscore.engine.worker import challenger_failures, row_isolation
from nightscore.models.cache import ModelCache
from nightscore.operations.history import run_history
from nightscore.schemas.challenger_jobs import challenger_jobs
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from tests.fakes.pool import InProcessPool
from tests.support.challengers import MisbehavingModel, register_misbehaving_model
from tests.support.lake import Lake
from tests.support.models import KnownModel, copy_registry, make_frame, register

DAY = "2024-02-29"
N_ROWS = 600
"""In two shards, of which only the second has negative numbers."""
CHAMPION = "hgb_regressor"


@pytest.fixture(scope="module")
def faulty_registry(tmp_path_factory: pytest.TempPathFactory, registry_root: Path) -> str:
    return copy_registry(registry_root, tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def misbehaving(
    faulty_registry: str, models: dict[str, KnownModel], tmp_path_factory: pytest.TempPathFactory
) -> MisbehavingModel:
    """Its version 2: that of the champion is 1, and `model_version` has to tell them apart."""
    folder = tmp_path_factory.mktemp("misbehaving")
    model = register_misbehaving_model(faulty_registry, folder)
    client = mlflow.MlflowClient(tracking_uri=faulty_registry, registry_uri=faulty_registry)
    assert register(client, model.name, folder / model.name) == "2"
    return model


@pytest.fixture
def canary_lake(
    tmp_path: Path,
    faulty_registry: str,
    misbehaving: MisbehavingModel,
    cache: ModelCache,
    monkeypatch: pytest.MonkeyPatch,
) -> Lake:
    monkeypatch.setattr("nightscore.engine.planning.shards.MIN_SHARD_ROWS", 200)
    monkeypatch.setattr(row_isolation, "BISECTION_SLACK", 10)
    lake = Lake(str(tmp_path / "lake"), {}, faulty_registry, WatchedPool(), cache, "parquet")
    frame = make_frame(N_ROWS)
    half = N_ROWS // 2
    frame["a"] = np.where(frame["id"] < half, frame["a"].abs(), -frame["a"].abs() - 0.5)
    lake.write(DAY, frame.iloc[:half], "part-0")
    lake.write(DAY, frame.iloc[half:], "part-1")
    return lake


class WatchedPool(InProcessPool):
    """Scores in this process, and notes how many rows of a shard were the challenger's."""

    def __init__(self) -> None:
        super().__init__()
        self.n_published: list[int] = []

    def score(self, *arguments: Any) -> Iterator[ShardResult]:
        for result in super().score(*arguments):
            self.n_published += [one.n_published for one in result.challengers]
            yield result


def canary_job(lake: Lake, **release: Any) -> ScoringJob:
    release = {
        "challenger": "models:/misbehaving/2",
        "mode": "canary",
        "share": 0.5,
        "salt": "2024-02",
    } | release
    return lake.job(CHAMPION, engine="library", workers=2, release=release)


def check_champion_alone(
    lake: Lake, job: ScoringJob, manifest: Manifest, models: dict[str, KnownModel], why: str
) -> None:
    """All rows are the champion's, and both records say why."""
    assert (manifest.status, manifest.canary) == ("published", None), manifest.error
    assert manifest.counts.rows_scored == N_ROWS

    rows = lake.read(job).sort_values("id", ignore_index=True)
    assert rows["id"].tolist() == list(range(N_ROWS))
    assert set(rows["model_version"]) == {"1"}
    assert set(rows["run_id"]) == {manifest.run_id}
    frame = lake_frame(lake)
    expected = models[CHAMPION].estimator.predict(frame[models[CHAMPION].columns])
    assert np.array_equal(rows["prediction"], expected)

    (record,) = manifest.challengers
    assert (record.mode, record.status) == ("canary", "failed")
    assert why in record.why
    (note,) = [note for note in manifest.warnings if "challenger" in note]
    assert why in note
    (own,) = run_history(challenger_jobs(job)["2"])
    assert (own.status, own.run_id) == ("failed", record.run_id)
    alone = lake.job(CHAMPION, engine="library", workers=2)
    assert lake.run(alone, DAY).status == "unchanged"


def lake_frame(lake: Lake) -> Any:
    """The input, in the order of its keys."""
    import pyarrow.parquet as pq

    folder = Path(f"{lake.features.uri}/ds={DAY}")
    return pq.read_table(sorted(folder.glob("*.parquet"))).to_pandas().sort_values("id")


def test_one_that_behaves_is_published_of_its_arm(
    canary_lake: Lake, misbehaving: MisbehavingModel
) -> None:
    misbehaving.does("well")
    job = canary_job(canary_lake)

    manifest = canary_lake.run(job, DAY)

    assert manifest.canary is not None, manifest.warnings
    rows = canary_lake.read(job).merge(lake_frame(canary_lake), on="id")
    is_doubled = rows["prediction"] == 2 * rows["a"]
    assert is_doubled.sum() == manifest.canary.rows > 200
    assert rows["model_version"].tolist() == np.where(is_doubled, "2", "1").tolist()
    assert manifest.measures.n_shards == 2


def test_one_of_the_same_number_is_refused(
    canary_lake: Lake, misbehaving: MisbehavingModel
) -> None:
    """`model_version` could not say whose a row is."""
    misbehaving.does("well")
    job = canary_job(canary_lake, challenger=f"models:/{misbehaving.name}/1")

    manifest = canary_lake.run(job, DAY)

    assert (manifest.status, manifest.canary) == ("published", None)
    assert any("Both models of the canary have version 1" in note for note in manifest.warnings)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("raise", "KeyError: 'no such customer'"),
        ("exit", "it raised SystemExit: out of patience"),
        ("memory", "it needs more memory than the shard has beside the champion"),
        ("short", "another shape"),
    ],
)
def test_one_that_fails_in_a_later_shard(
    canary_lake: Lake,
    misbehaving: MisbehavingModel,
    models: dict[str, KnownModel],
    behaviour: str,
    why: str,
) -> None:
    """The first shard was written with its rows, and is scored again."""
    misbehaving.does(f"{behaviour} if negative")
    job = canary_job(canary_lake)

    manifest = canary_lake.run(job, DAY)

    check_champion_alone(canary_lake, job, manifest, models, why)
    assert isinstance(canary_lake.pool, WatchedPool)
    assert canary_lake.pool.n_published[0] > 100


def test_one_that_is_slow(
    canary_lake: Lake,
    misbehaving: MisbehavingModel,
    models: dict[str, KnownModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    misbehaving.does("well")
    monkeypatch.setattr(challenger_failures, "GRACE_S", 0.0)
    job = canary_job(canary_lake, max_overhead=1e-9)

    manifest = canary_lake.run(job, DAY)

    check_champion_alone(canary_lake, job, manifest, models, "it is too slow: its predictions took")


@pytest.mark.slow
def test_one_that_kills_its_worker(
    canary_lake: Lake, pool: BasePool, misbehaving: MisbehavingModel, models: dict[str, KnownModel]
) -> None:
    misbehaving.does("kill if negative")
    canary_lake.pool = pool
    job = canary_job(canary_lake)

    manifest = canary_lake.run(job, DAY)

    check_champion_alone(canary_lake, job, manifest, models, challenger_failures.TRIED_AGAIN)
