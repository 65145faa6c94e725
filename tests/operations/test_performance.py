"""Estimated performance of published partitions, from stored profiles alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from nightscore.errors import InputError, PartitionNotFoundError
from nightscore.ledger.layout import state_store
from nightscore.monitoring.performance.estimates.adjusted import (
    NO_BASELINE,
    ONLY_BINARY,
    REMOVED,
)
from nightscore.monitoring.performance.estimates.of_runs import RunScores
from nightscore.monitoring.performance.estimates.wording import (
    CONCEPT_DRIFT,
    headlines,
    metric_of,
)
from nightscore.operations.baseline import record_baseline
from nightscore.operations.clean_samples import clean_samples
from nightscore.operations.evaluate import evaluate
from nightscore.operations.history import run_history
from nightscore.operations.performance import (
    Performance,
    estimate_performance,
    recorded_between,
)
from nightscore.operations.report import read_report
from nightscore.schemas.decision import Decision
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.performance import EstimateRecord
from tests.cli.test_commands import answer, nightscore, save
from tests.reports.test_page import get, served
from tests.support.lake import Lake
from tests.support.models import copy_registry, make_frame
from tests.support.outcomes import labelled_job, write_labels

DAYS = ("2024-02-28", "2024-02-29")


@pytest.fixture
def own(lake: Lake, registry_root: Path, tmp_path: Path) -> Lake:
    """A lake with a registry of its own, whose versions get baselines."""
    lake.registry = copy_registry(registry_root, tmp_path / "registry")
    return lake


def labelled(n_rows: int, seed: int) -> pd.DataFrame:
    frame = make_frame(n_rows, seed=seed)
    noise = np.random.default_rng(seed).laplace(size=n_rows)
    return frame.assign(
        came_true=(frame["a"] + frame["b"] * frame["c"] > 0.2),
        amount=frame["a"] * 3 - frame["e"] + frame["b"] ** 2 + noise,
    )


def log_baseline(lake: Lake, job: ScoringJob, label: str = "came_true") -> None:
    path = Path(lake.root) / "training.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    labelled(4_000, seed=9).to_parquet(path)
    record_baseline(job, str(path), lake.pool, lake.cache, label=label)


def estimate(lake: Lake, job: ScoringJob, day: str | None = None) -> Performance:
    return estimate_performance(job, recorded_between(job, day, day, 30), lake.cache)


def estimate_of(job: ScoringJob, day: str) -> EstimateRecord | None:
    (manifest,) = run_history(job, day, everything=False)
    return manifest.estimate


def test_past_partitions_are_estimated_once_the_baseline_has_labels(
    own: Lake, tmp_path: Path
) -> None:
    decision = Decision(threshold=0.4).model_dump()
    job = labelled_job(own, labels={"column": "came_true"}, decision=decision)
    truth = {day: labelled(1_500, seed=seed) for seed, day in enumerate(DAYS)}
    own.write(DAYS[0], truth[DAYS[0]].drop(columns=["came_true", "amount"]))
    own.run(job, DAYS[0])

    with pytest.raises(InputError) as caught:
        estimate(own, job)
    assert caught.value.found == "no baseline"
    assert "nightscore baseline test --from DATA --label COLUMN" in caught.value.next_step

    log_baseline(own, job, label="")
    with pytest.raises(InputError) as caught:
        estimate(own, job)
    assert caught.value.found == "a baseline, but it has no labels"

    log_baseline(own, job)
    own.write(DAYS[1], truth[DAYS[1]].drop(columns=["came_true", "amount"]))
    own.run(job, DAYS[1])
    before, after = estimate(own, job).partitions
    (model,) = estimate(own, job).models
    assert (before.partition, after.partition) == DAYS
    assert (model.n_partitions, model.n_rows) == (2, 3_000)

    # The first run had bins of its own, the second those of the baseline.
    assert "counted over other bins" in before.estimated[0].note
    assert {metric.note for metric in after.estimated if metric.name == "accuracy"} == {""}
    recorded = estimate_of(job, DAYS[1])
    assert recorded is not None
    assert recorded.metrics == after.estimated, "the run has recorded it"
    assert recorded.baseline == model.baseline
    assert recorded.reference.startswith("sha256:")
    ((subject, value),) = headlines(recorded)
    assert subject == "Estimated AUC"
    assert ", baseline 0." in value
    assert estimate_of(job, DAYS[0]) is None, "the baseline had no labels then"

    predictions = own.read(job)
    for partition in (before, after):
        scores = predictions[predictions["ds"] == partition.partition].set_index("id")
        labels = truth[partition.partition].set_index("id")["came_true"]
        right = (scores["probability"] > 0.4) == labels.reindex(scores.index)
        accuracy = {metric.name: metric for metric in partition.estimated}["accuracy"]
        assert accuracy.low is not None
        assert accuracy.high is not None
        assert accuracy.low <= right.mean() <= accuracy.high

    labels = [truth[day][["id", "came_true"]].assign(ds=day) for day in DAYS]
    outcomes = pl.from_pandas(pd.concat(labels)).with_columns(pl.col("came_true").cast(pl.Int64))
    write_labels(own, outcomes)
    (manifest,) = run_history(job, DAYS[1], everything=False)
    before_labels = read_report(job, manifest, own.cache)
    assert "<h2>Performance</h2>" in before_labels
    assert (
        "No partition has both an estimate and labels that stand for all its rows yet"
        in before_labels
    )

    evaluate(job, datetime(2024, 3, 20, tzinfo=UTC)).check()
    with_labels = read_report(job, manifest, own.cache)
    assert "1 of 1 matured partition came true within the band" in with_labels, (
        "the first run had estimated nothing"
    )
    assert read_report(job, manifest, own.cache) == with_labels, "drawn once"
    assert "1,500 of 1,500 predictions (100.0%) had labels" in with_labels
    assert "score above 0.4" in with_labels
    assert "What came true" not in before_labels
    known = estimate(own, job)
    for partition in known.partitions:
        came_true = {metric.name: metric.value for metric in partition.realised}
        right = (predictions[predictions["ds"] == partition.partition]).set_index("id")
        labels_of_day = truth[partition.partition].set_index("id")["came_true"]
        is_right = (right["probability"] > 0.4) == labels_of_day.reindex(right.index)
        assert came_true["accuracy"] == pytest.approx(is_right.mean())
        assert (partition.labelled_share, partition.is_matured) == (1.0, True)

    record = {record.metric: record for record in known.track_records}["accuracy"]
    assert (record.n_partitions, record.n_within) == (2, 2)
    assert 0 <= abs(record.mean_error) <= record.mean_absolute_error < 0.05
    other = job.model_copy(update={"decision": Decision(threshold=0.5)})
    assert "accuracy" not in {one.name for one in estimate(own, other).partitions[0].realised}

    path = str(save(job, tmp_path))
    document = answer(own, "performance", path)
    assert [one["partition"] for one in document["partitions"]] == [*DAYS]
    assert document["models"][0]["n_rows"] == 3_000
    assert document["note"] == CONCEPT_DRIFT
    (alone,) = answer(own, "performance", path, DAYS[1])["partitions"]
    assert alone["estimated"][0]["name"] == "roc_auc"
    ranged = answer(own, "performance", path, "--to", DAYS[1], "--last", "1")
    assert [one["partition"] for one in ranged["partitions"]] == [DAYS[1]]

    for arguments in (
        ["performance", path],
        ["performance", path, DAYS[1]],
        ["report", path, DAYS[1]],
    ):
        shown = nightscore(own, *arguments).stdout
        assert "AUC" in shown
        assert "concept drift" in shown
        assert "came true" in shown
        assert "baseline" in shown
    assert nightscore(own, "performance", path, DAYS[1], "--from", DAYS[0]).returncode == 2

    page = tmp_path / "performance.html"
    told = nightscore(own, "performance", path, "--last", "2", "-o", str(page))
    assert f"The page is in {page}" in told.stderr
    with served(job, own, tmp_path) as url:
        assert 'href="/test/-/performance"' in get(f"{url}/test")[1]
        status, shown, _ = get(f"{url}/test/-/performance")
    assert status == 200
    assert shown == page.read_text()
    assert "2 of 2 partitions have been compared with labels" in shown
    assert "2 of 2 matured partitions came true within the band" in shown
    assert "concept drift" in shown


def test_a_regression_is_estimated_by_the_same_commands(own: Lake, tmp_path: Path) -> None:
    gates = {"estimated": {"metric": "rmse", "max_rise": 2, "action": "hold"}}
    job = own.job("hgb_regressor", gates=gates, estimate={"sample_rows": 200})
    log_baseline(own, job, label="amount")

    day = labelled(1_500, seed=3)
    own.write(DAYS[0], day.drop(columns=["came_true", "amount"]))
    run = own.run(job, DAYS[0])
    assert run.status == "published"
    found = estimate(own, job)
    (partition,), (model,) = found.partitions, found.models
    assert [metric.name for metric in partition.estimated] == ["rmse", "mae", "bias"]

    # Nobody's rows are stored for an adjustment that is not made.
    assert partition.adjusted_note == ONLY_BINARY
    assert run.sample is None
    assert [*state_store(job).list_files("samples")] == []

    recorded = estimate_of(job, DAYS[0])
    assert recorded is not None
    assert recorded.metrics == partition.estimated, "the run has recorded it"
    assert recorded.baseline == model.baseline
    (manifest,) = run_history(job, DAYS[0], everything=False)
    (gate,) = [gate for gate in manifest.gates if gate.gate == "estimated"]
    assert gate.passed

    scored = own.read(job).set_index("id")["prediction"]
    errors = scored - day.set_index("id")["amount"].reindex(scored.index)
    truth = {"rmse": (errors**2).mean() ** 0.5, "mae": errors.abs().mean(), "bias": errors.mean()}
    for metric in partition.estimated:
        assert metric.note == ""
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low <= truth[metric.name] <= metric.high

    path = str(save(job, tmp_path))
    document = answer(own, "performance", path)
    assert document["partitions"][0]["estimated"][0]["name"] == "rmse"
    for arguments in (["performance", path], ["report", path, DAYS[0]]):
        shown = nightscore(own, *arguments).stdout
        assert "RMSE" in shown
        assert "AUC" not in shown


def test_what_cannot_be_estimated_says_why(own: Lake) -> None:
    three_classes = own.job("hgb_multi", predict="predict")
    own.write(DAYS[0], make_frame(100))
    with pytest.raises(PartitionNotFoundError, match="nothing to estimate"):
        estimate(own, three_classes)

    own.run(three_classes, DAYS[0])
    with pytest.raises(InputError, match="a probability of each class"):
        estimate(own, three_classes)

    with pytest.raises(InputError) as caught:
        estimate(own, own.job("hgb_multi"))
    assert caught.value.found == "prediction"

    blind = own.job("hgb_multi", drift={"profile": False})
    assert own.run(blind, DAYS[0], force=True).status == "published"
    with pytest.raises(InputError, match="has no profile") as caught:
        estimate(own, blind)
    assert f"nightscore run test {DAYS[0]} --force" in caught.value.next_step


def test_evaluations_record_adjusted_estimates_which_outlive_the_samples(
    own: Lake, tmp_path: Path
) -> None:
    job = labelled_job(own, labels={"column": "came_true"}, estimate={"sample_rows": 400})
    log_baseline(own, job)
    truth = labelled(1_000, seed=4)
    truth["b"] += 1.5
    own.write(DAYS[0], truth.drop(columns=["came_true", "amount"]))
    own.run(job, DAYS[0])
    write_labels(own, pl.from_pandas(truth[["id", "came_true"]]).with_columns(ds=pl.lit(DAYS[0])))
    (fresh,) = estimate(own, job).partitions

    def evaluated(days: int) -> EvaluationRecord:
        later = datetime(2024, 3, 20, tzinfo=UTC) + timedelta(days=days)
        (record,) = evaluate(job, later, cache=own.cache).records
        return record

    first = evaluated(0)
    assert first.adjusted is not None
    assert first.adjusted.metrics == fresh.adjusted
    assert first.adjusted.reference.startswith("sha256:")
    assert first.notes == ()
    table = pl.read_parquet(f"{own.root}/predictions.nightscore/performance/**/*.parquet")
    recorded = table.filter(kind="adjusted", metric="roc_auc")["value"].to_list()
    assert recorded == [metric_of(fresh.adjusted, "roc_auc").value]  # type: ignore[union-attr]

    clean_samples(job, datetime.now(UTC) + timedelta(days=1), delete=True)
    found = estimate(own, job)
    (kept,) = found.partitions
    assert kept.adjusted == fresh.adjusted
    assert "recorded by the evaluation" in kept.adjusted_note
    errors = {record.metric: record.mean_absolute_error for record in found.track_records}
    of_adjusted = {record.metric: record for record in found.adjusted_track_records}
    assert of_adjusted["roc_auc"].n_partitions == 1
    assert of_adjusted["roc_auc"].mean_absolute_error != errors["roc_auc"]
    shown = nightscore(own, "performance", str(save(job, tmp_path))).stdout
    assert "AUC, adjusted for covariate shift: " in " ".join(shown.split())

    # Labels that are corrected later do not change what was estimated.
    corrected = truth.assign(came_true=~truth["came_true"])
    columns = pl.from_pandas(corrected[["id", "came_true"]])
    write_labels(own, columns.with_columns(ds=pl.lit(DAYS[0])))
    again = evaluated(1)
    assert again.adjusted == first.adjusted
    assert again.metrics != first.metrics


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        ("sample", f"not adjusted for covariate shift: {REMOVED}"),
        ("registry", "not adjusted for covariate shift: RuntimeError: no disk"),
    ],
)
def test_what_cannot_be_adjusted_is_evaluated_all_the_same(
    broken: str, note: str, own: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = labelled_job(own, labels={"column": "came_true"}, estimate={"sample_rows": 400})
    log_baseline(own, job)
    truth = labelled(300, seed=4)
    own.write(DAYS[0], truth.drop(columns=["came_true", "amount"]))
    run = own.run(job, DAYS[0])
    write_labels(own, pl.from_pandas(truth[["id", "came_true"]]).with_columns(ds=pl.lit(DAYS[0])))

    if broken == "sample":
        assert run.sample is not None
        state_store(job).delete([file.path for file in run.sample.files])
    else:
        monkeypatch.setattr(RunScores, "placement", _fail)

    (record,) = evaluate(job, datetime(2024, 3, 20, tzinfo=UTC), cache=own.cache).records
    assert record.notes == (note,)
    assert record.metric("roc_auc") is not None
    assert record.adjusted is not None
    assert record.adjusted.metrics == ()


def _fail(*_: object) -> None:
    raise RuntimeError("no disk")


def test_estimates_are_adjusted_for_covariate_shift(own: Lake, tmp_path: Path) -> None:
    job = own.job(estimate={"sample_rows": 400})
    log_baseline(own, job)
    days = {DAYS[0]: labelled(1_000, seed=3), DAYS[1]: labelled(1_000, seed=4)}
    days[DAYS[1]]["b"] += 1.5
    for day, n_sampled in zip(days, (250, 400), strict=True):
        own.write(day, days[day].drop(columns=["came_true", "amount"]))
        own.run(own.job(estimate={"sample_rows": n_sampled}), day)

    same, moved = estimate(own, job).partitions
    (alone,) = estimate(own, job, DAYS[1]).partitions
    assert alone.adjusted == moved.adjusted
    assert same.adjusted == same.estimated
    assert "no covariate shift found" in same.adjusted_note
    assert "covariate shift: a classifier tells" in moved.adjusted_note
    assert [metric.name for metric in moved.adjusted] == [one.name for one in moved.estimated]
    assert moved.adjusted != moved.estimated

    path = str(save(job, tmp_path))
    for arguments in ([path, DAYS[1]], [path]):
        shown = nightscore(own, "performance", *arguments).stdout
        assert "adjusted" in shown
        assert "concept drift" in shown

    (run,) = run_history(job, DAYS[1], everything=False)
    assert run.sample is not None
    state_store(job).delete([file.path for file in run.sample.files])
    assert estimate(own, job).partitions[1].adjusted_note == REMOVED

    clean_samples(job, datetime.now(UTC) + timedelta(days=1), delete=True)
    partitions = estimate(own, job).partitions
    assert {partition.adjusted_note for partition in partitions} == {NO_BASELINE}
    assert {partition.adjusted for partition in partitions} == {()}
