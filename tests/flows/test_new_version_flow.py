"""The flow that an automation starts when an alias has moved, on a real Prefect server."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightscore.inputs.jobfile import load_job
from nightscore.ledger.timeline import latest_publications, recorded_values
from nightscore.ledger.workspace import Workspace
from tests.support.lake import Lake
from tests.support.releases import DAYS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow

    from nightscore.flows.releases.new_version import new_version
    from tests.support.flow_runs import finish, newest_artifact

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("flows_use_server"),
]
RELEASE = {"challenger": "models:/hgb_binary@challenger", "backfill_newest": 1}


@pytest.fixture
def job_file(aliased_job: Path) -> str:
    raw = yaml.safe_load(aliased_job.read_text())
    aliased_job.write_text(yaml.safe_dump(raw | {"release": RELEASE}))
    return str(aliased_job)


def react(job_file: str, alias: str) -> Any:
    return finish(new_version, job_file, "hgb_binary", alias, "2")


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
    page = newest_artifact("test-new-version").data
    assert "hgb_binary@champion means version 2 now." in page
    assert "It has no baseline; `nightscore baseline" in page


def published(name: str) -> dict[str | None, str]:
    workspace = Workspace(load_job(name))
    values = recorded_values(workspace)
    return {
        manifest.partition: manifest.model.version
        for manifest in latest_publications(workspace, values)
    }
