"""Records a scoring run in MLflow: parameters, metrics and model, with a link to Prefect.

What came true of its predictions is added when labels have come.
"""

import functools
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightscore.models.registries.uris import registry_uri
from nightscore.monitoring.performance.realised_wording import SHOWN, show_realised
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.model_uri import is_logged_model
from nightscore.schemas.partition import show_value
from nightscore.schemas.performance import EstimateRecord

logger = logging.getLogger("nightscore")

LOGGED_MODEL = "models:/m-"
"""Prefix of the location of a logged model in MLflow. The model's id follows."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's default of seven retries may take minutes: too long to wait for a second record."""

MAX_PARAM = 6_000
"""Characters of a parameter's value."""
MAX_TAG = 5_000
"""Characters of a tag's value."""
MAX_NAME = 500
"""Characters of a dataset's name."""
MAX_DIGEST = 36
"""Characters of a dataset's digest."""
RUNS_PER_PAGE = 1_000
"""Runs that are asked for at once."""
METRICS_PER_BATCH = 1_000
"""Metrics that are logged at once: MLflow's limit."""
ESTIMATED = "estimated/"
"""How the names of metrics begin that a run expected of its predictions."""
REALISED = "realised/"
"""How the names of metrics begin that labels have shown."""
REALISED_EARLY = "realised_early/"
"""Of partitions that have not matured, whose labels may be a selection."""
REALISED_SELECTION = "realised_selection/"
"""Of matured partitions whose labelled rows are a selection by score."""
REALISED_TAG = "nightscore.realised"
"""Tag of a model version: what came true of the latest partition whose labels stand for all its
rows."""


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
    models = [LoggedModelInput(model_id)] if model_id else []
    datasets = _datasets(manifest)
    if models or datasets:
        client.log_inputs(run_id, datasets=datasets, models=models)

    client.set_terminated(run_id, "FAILED" if manifest.error else "FINISHED", finished)
    return TrackedRun(experiment, run_id, _page_url(uri, experiment_id, run_id))


def _datasets(manifest: Manifest) -> list[Any]:
    """The input, if it was looked at. Its digest begins as the run's fingerprint does."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = manifest.fingerprint.removeprefix("sha256:")[:MAX_DIGEST]
    if not digest:
        return []

    source = json.dumps({"uri": manifest.inputs.uri})
    name = f"{manifest.job}, {manifest.partition_key}={show_value(manifest.partition)}"
    dataset = Dataset(name[:MAX_NAME], digest, "nightscore", source)
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "scoring")])]


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
    estimate = manifest.estimate or EstimateRecord()

    estimated = {}
    for metric in estimate.metrics:
        if metric.value is not None:
            estimated[ESTIMATED + _allowed_name(metric.name)] = metric.value

    return estimated | {
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


def track_evaluations(
    records: Sequence[EvaluationRecord], latest: Sequence[EvaluationRecord], registry: str | None
) -> None:
    """Add what came true to the runs in MLflow that made the predictions, and to their models.

    The metrics of a run are also those of the logged model behind it. A model version gets a tag.
    If that fails, log a warning: the evaluations are recorded all the same.

    Args:
        records: New evaluations of one job.
        latest: The newest evaluations of its latest partitions, in their order.
        registry: The registry as the job names it.
    """
    if not records:
        return

    try:
        uri = registry_uri(registry)
        n_missing = _log_realised(records, uri)
        _tag_versions(records, latest, uri)
    except Exception as error:  # noqa: BLE001 (whatever store is behind it)
        first_line = str(error).partition("\n")[0]
        logger.warning(
            "job=%s what came true is not recorded in MLflow: %s: %s",
            records[0].job,
            type(error).__name__,
            first_line,
        )
        return

    if n_missing:
        logger.info(
            "job=%s %s not in MLflow, such as those of `nightscore run`",
            records[0].job,
            "1 evaluated run is" if n_missing == 1 else f"{n_missing} evaluated runs are",
        )


def _log_realised(records: Sequence[EvaluationRecord], uri: str) -> int:
    """Log the metrics of each evaluation to its run. Returns how many runs are not in MLflow."""
    client = _client(uri)
    experiment = client.get_experiment_by_name(f"scoring/{records[0].job}")
    if experiment is None:
        return len(records)

    wanted = {record.run_id for record in records}
    runs = _runs_by_id(client, str(experiment.experiment_id), wanted)

    for record in records:
        if record.run_id not in runs:
            continue

        metrics = _realised_metrics(record, _known_model_id(uri, record))
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            batch = metrics[start : start + METRICS_PER_BATCH]
            client.log_batch(runs[record.run_id], metrics=batch)

    return sum(record.run_id not in runs for record in records)


def _runs_by_id(client: Any, experiment_id: str, wanted: Iterable[str]) -> dict[str, str]:
    """The runs in MLflow that recorded these runs of ours. Asked for by pages, not one by one."""
    # Our ids sort by time: their first 48 bits are the milliseconds at which the run began.
    earliest = int(min(wanted).replace("-", "")[:12], 16)
    found: dict[str, str] = {}
    token = None

    while True:
        page = client.search_runs(
            [experiment_id],
            f"attributes.start_time >= {earliest}",
            max_results=RUNS_PER_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        for run in page:
            found[run.data.tags.get("nightscore.run_id", "")] = run.info.run_id

        token = page.token
        if not token or set(wanted) <= found.keys():
            return found


def _realised_metrics(record: EvaluationRecord, model_id: str | None) -> list[Any]:
    from mlflow.entities import Metric

    values = {metric.name: metric.value for metric in record.metrics}
    values |= {"labelled_rows": record.counts.labelled, "labelled_share": record.counts.share}
    if record.selection is not None:
        values["selection"] = record.selection

    when = _milliseconds(record.made_at)
    group = _group_of(record)

    metrics = []
    for name, value in values.items():
        if value is not None:
            key = group + _allowed_name(name)
            metrics.append(Metric(key, value, when, record.number, model_id=model_id))

    return metrics


def _group_of(record: EvaluationRecord) -> str:
    """How the names of its metrics begin. Those of different groups are not comparable."""
    if not record.is_matured:
        return REALISED_EARLY
    return REALISED if record.is_complete else REALISED_SELECTION


def _allowed_name(name: str) -> str:
    """A name that MLflow allows: `precision[late]` is `precision/late`.

    `lift@10%`, of the tenth of the rows with the highest scores, is `lift_at_10_percent`.
    """
    metric, bracket, rest = name.partition("[")
    metric = metric.replace("@", "_at_").replace("%", "_percent")
    if not bracket:
        return metric

    class_name = re.sub(r"[^\w -]", "_", rest.removesuffix("]")) or "_"
    return f"{metric}/{class_name}"


def _known_model_id(uri: str, record: EvaluationRecord) -> str | None:
    """The id of the logged model; None if there is none, or no version any more."""
    if not record.model_name:
        return None

    try:
        return _model_id(uri, record.model_name, record.model_version)
    except Exception:  # noqa: BLE001 (the version is gone: the run still has its metrics)
        return None


def _tag_versions(
    records: Sequence[EvaluationRecord], latest: Sequence[EvaluationRecord], uri: str
) -> None:
    """Say on each model version that was evaluated what came true of its latest partition."""
    evaluated = {(record.model_name, record.model_version) for record in records}
    newest: dict[tuple[str, str], EvaluationRecord] = {}
    for record in latest:
        model = (record.model_name, record.model_version)
        is_version = bool(record.model_name) and not is_logged_model(record.model_version)
        if is_version and record.is_complete and model in evaluated:
            newest[model] = record

    for (name, version), record in newest.items():
        _client(uri).set_model_version_tag(name, version, REALISED_TAG, _summary(record))


def _summary(record: EvaluationRecord) -> str:
    shown = []
    for name in SHOWN[record.task]:
        metric = record.metric(name)
        if metric is not None and metric.value is not None:
            shown.append(f"{name} {show_realised(metric)}")

    text = f"{show_value(record.partition)}: {', '.join(shown)}; {record.counts.labelled:,} rows"
    return text[:MAX_TAG]


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
