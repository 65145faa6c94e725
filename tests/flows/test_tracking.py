"""What MLflow shows of runs whose predictions came true, or did not."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from nightscore.flows.tracking import _realised_metrics, track, track_evaluations
from nightscore.schemas.evaluation import OutcomeCounts
from nightscore.schemas.performance import EstimateRecord, MetricRecord
from tests.support.evaluations import evaluation
from tests.support.manifests import published_run
from tests.support.publications import run_id

# MLflow is imported, and has a database.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

BEGUN_MS = int(run_id(2).replace("-", "")[:12], 16)


def test_what_came_true_is_added_to_runs_and_their_models(registry: str) -> None:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=registry, registry_uri=registry)
    logged_model = client.get_model_version("hgb_binary", "1").source.startswith("models:/m-")
    model = {"uri": "models:/hgb_binary/1", "name": "hgb_binary", "version": "1"}
    manifest = published_run(
        run_id=run_id(2),
        started_at=datetime.fromtimestamp(BEGUN_MS / 1000, UTC) + timedelta(seconds=1),
        model=model,
        fingerprint=f"sha256:{'ab' * 32}",
        estimate=EstimateRecord(
            metrics=(
                MetricRecord(name="roc_auc", value=0.72, low=0.7, high=0.74),
                MetricRecord(name="f1", note="too few"),
            )
        ),
    )
    tracked = track(manifest, registry, "", "")
    assert tracked is not None

    metrics = (
        MetricRecord(name="roc_auc", value=0.75, low=0.7, high=0.8, n=90),
        MetricRecord(name="log_loss", note="too few"),
        MetricRecord(name="precision[a/b]", value=0.5),
        MetricRecord(name="lift@10%", value=3.5),
    )
    of_model = {"model_name": "hgb_binary", "model_version": "1", "metrics": metrics}
    record = evaluation(
        "2024-03-02",
        (0.75, 0.7, 0.8),
        counts=OutcomeCounts(predictions=100, labelled=90),
        **of_model,
    )
    early = evaluation(
        "2024-03-03",
        (0.5, None, None),
        is_matured=False,
        counts=OutcomeCounts(predictions=100, labelled=20),
        **of_model,
    )
    selected = evaluation(
        "2024-03-04",
        (0.6, None, None),
        selection=0.4,
        counts=OutcomeCounts(predictions=100, labelled=50),
        **of_model,
    )
    track_evaluations([record, early], [record, early, selected], registry)

    run = client.get_run(tracked.run_id)
    assert run.data.metrics["rows_scored"] == 0, "what was logged with the run stays"
    estimated = {k: v for k, v in run.data.metrics.items() if k.startswith("estimated/")}
    assert estimated == {"estimated/roc_auc": 0.72}, "beside what came true"
    realised = {k: v for k, v in run.data.metrics.items() if k.startswith("realised/")}
    assert realised == {
        "realised/roc_auc": 0.75,
        "realised/precision/a_b": 0.5,
        "realised/lift_at_10_percent": 3.5,
        "realised/labelled_rows": 90,
        "realised/labelled_share": 0.9,
    }
    early_names = {metric.key for metric in _realised_metrics(early, None)}
    assert early_names >= {"realised_early/roc_auc", "realised_early/labelled_share"}
    assert not any(name.startswith("realised/") for name in early_names)
    of_selection = {metric.key: metric.value for metric in _realised_metrics(selected, None)}
    assert of_selection["realised_selection/selection"] == 0.4
    assert {name.partition("/")[0] for name in of_selection} == {"realised_selection"}
    version = client.get_model_version("hgb_binary", "1")
    assert (
        version.tags["nightscore.realised"] == "2024-03-02: roc_auc 0.750 (0.700 to 0.800); 90 rows"
    )
    if logged_model:
        model_id = version.source.removeprefix("models:/").split("/")[0]
        of_model_itself = client.get_logged_model(model_id).metrics
        assert "realised/roc_auc" in {metric.key for metric in of_model_itself}

    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == "ab" * 18
    assert dataset.dataset.name == "delay, ds=2024-03-02"


def test_mlflow_being_away_or_knowing_nothing_costs_these_metrics_only(
    registry: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("nightscore"), "propagate", True)
    records = [evaluation("2024-03-02", (0.75, 0.7, 0.8), job="other", model_name="")]
    track_evaluations(records, records, registry)
    assert "what came true is not recorded" not in caplog.text

    track_evaluations(records, records, "http://127.0.0.1:9")
    assert "job=other what came true is not recorded in MLflow" in caplog.text
