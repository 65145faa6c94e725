"""The MLflow run of a scoring run: its parameters, metrics and model, with the way back to Prefect."""

import functools
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightscore.models.registries.uris import registry_uri
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value

logger = logging.getLogger("nightscore")

LOGGED_MODEL = "models:/m-"
"""How MLflow names the location of a model that was logged as such; what follows is the model's id."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's own seven retries may take minutes; a run does not wait that long for its record in a second place."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """Where a scoring run stands in MLflow."""

    experiment: str
    run_id: str
    url: str | None
    """None: the registry is a database, which has no page."""


def track(
    manifest: Manifest, registry: str | None, flow_run_id: str, flow_run_url: str
) -> TrackedRun | None:
    """Record a finished scoring run in MLflow; None if that was not possible, with a warning in the log.

    The predictions are published by then: MLflow's being away costs the record there, nothing else.

    Args:
        manifest: Of the run.
        registry: As the job names it.
        flow_run_id: Of the Prefect run; empty outside of one.
        flow_run_url: Its page.
    """
    try:
        return _track(manifest, registry_uri(registry), flow_run_id, flow_run_url)
    except Exception as error:  # noqa: BLE001 (whatever store is behind it)
        logger.warning(
            "run_id=%s partition=%s is not recorded in MLflow: %s: %s",
            manifest.run_id,
            show_value(manifest.partition),
            type(error).__name__,
            str(error).splitlines()[0] if str(error) else "",
        )
        return None


def _track(manifest: Manifest, uri: str, flow_run_id: str, flow_run_url: str) -> TrackedRun:
    from mlflow.entities import LoggedModelInput, Metric, Param

    client = _client(uri)
    experiment = f"scoring/{manifest.job}"
    experiment_id = _experiment_id(uri, experiment)
    started, finished = _milliseconds(manifest.started_at), _milliseconds(manifest.finished_at)
    tags = {
        "nightscore.run_id": manifest.run_id,
        "nightscore.status": manifest.status,
        "nightscore.manifest": manifest.location,
        "nightscore.predictions": manifest.output.uri,
        "prefect.flow_run_id": flow_run_id,
        "prefect.flow_run_url": flow_run_url,
        "mlflow.source.name": "nightscore",
        "mlflow.source.type": "JOB",
    }
    if manifest.error:
        tags["nightscore.error"] = f"{manifest.error.type}: {manifest.error.message}"[:5_000]
    name = f"{manifest.job} · {show_value(manifest.partition)}"
    run = client.create_run(
        experiment_id, started, {key: text for key, text in tags.items() if text}, name
    )
    run_id: str = run.info.run_id
    params = [Param(key, text[:6_000]) for key, text in _parameters(manifest).items()]
    metrics = [Metric(key, value, finished, 0) for key, value in _metrics(manifest).items()]
    client.log_batch(run_id, metrics=metrics, params=params)
    if model_id := _model_id(uri, manifest.model.name, manifest.model.version):
        client.log_inputs(run_id, models=[LoggedModelInput(model_id)])
    client.set_terminated(run_id, "FAILED" if manifest.error else "FINISHED", finished)
    is_server = uri.startswith(("http://", "https://"))
    url = f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}" if is_server else None
    return TrackedRun(experiment, run_id, url)


def _parameters(manifest: Manifest) -> Mapping[str, str]:
    return {
        "partition": show_value(manifest.partition),
        "model": f"{manifest.model.name}/{manifest.model.version}",
        "model_digest": manifest.model.digest,
        "fingerprint": manifest.fingerprint,
        "input": manifest.inputs.uri,
        "format": manifest.output.format,
        "engine": manifest.engine,
        "host": manifest.host,
    }


def _metrics(manifest: Manifest) -> Mapping[str, float]:
    counts, measures = manifest.counts, manifest.measures
    return {
        "rows_in": counts.rows_in,
        "rows_scored": counts.rows_scored,
        "rows_quarantined": counts.rows_quarantined,
        "total_s": measures.total_s,
        "cpu_s": measures.cpu_s,
        "rows_per_s": measures.rows_per_s,
        "bytes_in": measures.bytes_in,
        "bytes_out": measures.bytes_out,
        "peak_worker_bytes": max(measures.peak_worker_bytes, default=0),
    }


def _milliseconds(moment: Any) -> int:
    return int((moment.timestamp() if moment else time.time()) * 1000)


@functools.cache
def _client(uri: str) -> Any:
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@functools.cache
def _experiment_id(uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    client = _client(uri)
    found = client.get_experiment_by_name(name)
    try:
        return str(found.experiment_id if found else client.create_experiment(name))
    except MlflowException:  # another run was first
        return str(client.get_experiment_by_name(name).experiment_id)


@functools.cache
def _model_id(uri: str, name: str, version: str) -> str | None:
    """The id of the logged model behind a version; None for one that was registered from elsewhere."""
    source = str(_client(uri).get_model_version(name, version).source)
    return (
        source.removeprefix("models:/").split("/")[0] if source.startswith(LOGGED_MODEL) else None
    )
