"""The flow that an automation starts when an alias has moved, on a real Prefect server."""

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.engine.backends.local import WorkerPool
from nightscore.inputs.jobfile import load_job
from nightscore.ledger.timeline import latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from tests.support.lake import Lake
from tests.support.lent_pool import lender
from tests.support.models import KnownModel
from tests.support.releases import DAYS, write_aliased_job

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    from nightscore.flows.prefect_server import PrefectServer
    from nightscore.flows.releases.new_version import new_version

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
RELEASE = {"challenger": "models:/hgb_binary@challenger", "backfill_newest": 1}


@pytest.fixture(scope="module", autouse=True)
def flows_use_server(server: PrefectServer) -> Iterator[None]:
    settings = {PREFECT_API_URL: server.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(settings):
        yield
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all()


@pytest.fixture
def job_file(
    lake: Lake,
    models: dict[str, KnownModel],
    pool: WorkerPool,
    registry_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setattr("nightscore.flows.pools.open_pool", lender(pool))
    monkeypatch.setenv("NIGHTSCORE_CACHE", str(lake.cache.root))
    path = write_aliased_job(lake, registry_root, tmp_path, is_pinned=True)
    raw = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(raw | {"release": RELEASE}))
    return str(path)


def react(job_file: str, alias: str) -> Any:
    async def ended() -> Any:
        return await new_version(job_file, "hgb_binary", alias, "2", return_state=True)

    return asyncio.run(ended())


def page() -> str:
    async def read() -> Any:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["test-new-version"]))
        async with get_client() as client:
            stored = await client.read_artifacts(artifact_filter=key)
        return max(stored, key=lambda artifact: artifact.created).data

    return asyncio.run(read())


def test_a_new_version_is_looked_at_and_scores_at_once(job_file: str, lake: Lake) -> None:
    client = mlflow.MlflowClient(tracking_uri=lake.registry, registry_uri=lake.registry)
    client.set_registered_model_alias("hgb_binary", "challenger", "2")

    state = react(job_file, "challenger")
    assert state.is_completed(), state.message
    assert state.message.startswith(f"{DAYS[1]} is scored now")
    for name, version in ((job_file, "1"), (f"{job_file}@challenger", "2")):
        assert published(name) == {DAYS[1]: version}

    client.set_registered_model_alias("hgb_binary", "champion", "2")
    state = react(job_file, "champion")
    assert state.is_completed(), state.message
    assert published(job_file) == {DAYS[1]: "2"}
    assert "hgb_binary@champion means version 2 now." in page()
    assert "It has no baseline; `nightscore baseline" in page()


def published(name: str) -> dict[str | None, str]:
    workspace = Workspace(load_job(name))
    values = recorded_values(workspace)
    return {
        manifest.partition: manifest.model.version
        for manifest in latest_publications(workspace, values)
    }
