"""Records a scoring run in MLflow: parameters, metrics and model, with a link to Prefect."""

import functools
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightscore.models.registries.uris import registry_uri
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import is_logged_model
from nightscore.schemas.partition import show_value

logger = logging.getLogger("nightscore")

LOGGED_MODEL = "models:/m-"
"""Prefix of the location of a logged model in MLflow. The model's id follows."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's default of seven retries may take minutes: too long to wait for a second record."""

MAX_PARAM = 6_000
"""Characters of a parameter's value."""
MAX_TAG = 5_000
"""Characters of a tag's value."""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """Where a scoring run is recorded in MLflow."""

    experiment: str
    run_id: str
    url: str | None
    """Page of the run. None: the registry is a database, which has no pages."""


def track(
    manifest: Manifest, registry: str | None, flow_run_id: str, flow_run_url: str
) -> TrackedRun | None:
    """Record a finished scoring run in MLflow. If that fails, log a warning and return None.

    The predictions are already published: without MLflow, only this record is missing.

    Args:
        manifest: The run's record.
        registry: The registry as the job names it.
        flow_run_id: Id of the Prefect run; empty outside of one.
        flow_run_url: Page of the Prefect run.
    """
    try:
        return _track(manifest, registry_uri(registry), flow_run_id, flow_run_url)
    except Exception as error:  # noqa: BLE001 (whatever store is behind it)
        first_line = str(error).partition("\n")[0]
        logger.warning(
            "run_id=%s partition=%s is not recorded in MLflow: %s: %s",
            manifest.run_id,
            show_value(manifest.partition),
            type(error).__name__,
            first_line,
        )

        return None


def _track(manifest: Manifest, uri: str, flow_run_id: str, flow_run_url: str) -> TrackedRun:
    from mlflow.entities import LoggedModelInput, Metric, Param

    client = _client(uri)
    experiment = f"scoring/{manifest.job}"
    experiment_id = _experiment_id(uri, experiment)
    finished = _milliseconds(manifest.finished_at)

    run = client.create_run(
        experiment_id,
        _milliseconds(manifest.started_at),
        _tags(manifest, flow_run_id, flow_run_url),
        f"{manifest.job} · {show_value(manifest.partition)}",
    )
    run_id: str = run.info.run_id

    params = [Param(key, text[:MAX_PARAM]) for key, text in _parameters(manifest).items()]
    metrics = [Metric(key, value, finished, 0) for key, value in _metrics(manifest).items()]
    client.log_batch(run_id, metrics=metrics, params=params)

    model_id = _model_id(uri, manifest.model.name, manifest.model.version)
    if model_id:
        client.log_inputs(run_id, models=[LoggedModelInput(model_id)])

    client.set_terminated(run_id, "FAILED" if manifest.error else "FINISHED", finished)
    return TrackedRun(experiment, run_id, _page_url(uri, experiment_id, run_id))


def _page_url(uri: str, experiment_id: str, run_id: str) -> str | None:
    if not uri.startswith(("http://", "https://")):
        return None
    return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def _tags(manifest: Manifest, flow_run_id: str, flow_run_url: str) -> dict[str, str]:
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
        tags["nightscore.error"] = f"{manifest.error.type}: {manifest.error.message}"[:MAX_TAG]

    return {key: text for key, text in tags.items() if text}


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
    if moment is None:
        return int(time.time() * 1000)
    return int(moment.timestamp() * 1000)


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
    experiment = client.get_experiment_by_name(name)
    if experiment:
        return str(experiment.experiment_id)

    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another run has just created it
        return str(client.get_experiment_by_name(name).experiment_id)


@functools.cache
def _model_id(uri: str, name: str, version: str) -> str | None:
    """The id of a logged model, or of the one behind a version; None if there is none."""
    if is_logged_model(version):
        return version

    source = str(_client(uri).get_model_version(name, version).source)
    if not source.startswith(LOGGED_MODEL):
        return None
    return source.removeprefix("models:/").split("/")[0]
