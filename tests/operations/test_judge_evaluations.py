"""What came true, judged by the bounds of estimates, and what it was before."""

from datetime import UTC, datetime

import polars as pl
import pytest

from nightscore.ledger.layout import state_store
from nightscore.ledger.manifest_files import write_manifest
from nightscore.operations.evaluate import evaluate
from nightscore.operations.judge_evaluations import judge_evaluations
from nightscore.schemas.drift import Severity
from nightscore.schemas.performance import EstimateRecord, MetricRecord
from tests.support.evaluations import Band, recorded
from tests.support.lake import Lake
from tests.support.manifests import published_run
from tests.support.outcomes import labelled_job, predictions, publish, write_labels
from tests.support.publications import run_id

DAYS = [f"2024-03-0{n}" for n in range(1, 6)]
GOOD: Band = (0.8, 0.75, 0.85)
UNSURE: Band = (0.69, 0.64, 0.74)
BAD: Band = (0.6, 0.55, 0.65)
UNKNOWN: Band = (None, None, None)
BOUND = {"estimated": {"metric": "roc_auc", "min": 0.7}}


@pytest.mark.parametrize(
    ("auc", "severity"),
    [
        (GOOD, "ok"),
        ((0.71, 0.66, 0.76), "ok"),
        (UNSURE, "warning"),
        (BAD, "critical"),
        ((0.6, None, None), "warning"),
        ((0.8, None, None), "ok"),
    ],
)
def test_only_a_band_wholly_below_the_bound_is_critical(
    bare_lake: Lake, auc: Band, severity: Severity
) -> None:
    job = labelled_job(bare_lake, gates=BOUND)
    (judged,) = judge_evaluations(job, [recorded(job, DAYS[0], auc)])
    assert (judged.severity, judged.was) == (severity, "ok")
    assert judged.expected == "roc_auc of at least 0.7"


@pytest.mark.parametrize(
    ("rmse", "severity"),
    [
        ((11.0, 9.0, 13.0), "ok"),
        ((12.5, 11.0, 14.0), "warning"),
        ((14.0, 12.5, 16.0), "critical"),
    ],
)
def test_an_error_is_worse_above_its_bound(bare_lake: Lake, rmse: Band, severity: Severity) -> None:
    value, low, high = rmse
    metric = MetricRecord(name="rmse", value=value, low=low, high=high, n=100)
    job = labelled_job(bare_lake, gates={"estimated": {"metric": "rmse", "max": 12}})
    (judged,) = judge_evaluations(job, [recorded(job, DAYS[0], UNKNOWN, metrics=(metric,))])
    assert (judged.severity, judged.expected) == (severity, "rmse of at most 12")


def test_what_it_was_is_that_of_the_nearest_partition_before(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, gates=BOUND)
    recorded(job, DAYS[0], BAD)
    recorded(job, DAYS[1], UNKNOWN)
    recorded(job, DAYS[2], GOOD, is_matured=False)
    recorded(job, DAYS[4], GOOD)
    new = [recorded(job, DAYS[3], UNSURE)]
    (judged,) = judge_evaluations(job, new)
    assert (judged.severity, judged.was) == ("warning", "critical")


def test_a_correction_is_compared_with_what_it_corrects(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, gates=BOUND)
    recorded(job, DAYS[0], GOOD)
    recorded(job, DAYS[1], UNSURE)
    corrected = recorded(job, DAYS[1], GOOD, number=2, work="ff")
    (judged,) = judge_evaluations(job, [corrected])
    assert (judged.severity, judged.was) == ("ok", "warning")


def test_several_are_judged_in_the_order_of_their_partitions(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, gates=BOUND)
    bands = (BAD, GOOD, UNSURE)
    new = [recorded(job, day, band) for day, band in zip(DAYS, bands, strict=False)]
    judged = judge_evaluations(job, new[::-1])
    assert [(one.severity, one.was) for one in judged] == [
        ("critical", "ok"),
        ("ok", "critical"),
        ("warning", "ok"),
    ]


def test_early_labels_unknown_metrics_and_jobs_without_bounds_are_not_judged(
    bare_lake: Lake,
) -> None:
    job = labelled_job(bare_lake, gates=BOUND)
    early = recorded(job, DAYS[0], BAD, is_matured=False)
    unknown = recorded(job, DAYS[1], UNKNOWN)
    bad = recorded(job, DAYS[2], BAD)
    assert [one.record for one in judge_evaluations(job, [early, unknown, bad])] == [bad]
    assert judge_evaluations(labelled_job(bare_lake), [bad]) == []


WEIGHTED = (MetricRecord(name="roc_auc", value=0.6, low=0.55, high=0.65, n=100),)


def test_a_selection_by_score_is_a_warning_at_most(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, gates=BOUND)
    bad = recorded(job, DAYS[0], BAD, selection=0.2)
    weighted = recorded(job, DAYS[1], GOOD, selection=0.2, weighted=WEIGHTED)
    good = recorded(job, DAYS[2], GOOD, selection=0.2)
    whole = recorded(job, DAYS[3], BAD)

    judged = judge_evaluations(job, [bad, weighted, good, whole])
    assert [(one.record.partition, one.severity, one.was) for one in judged] == [
        (DAYS[0], "warning", "ok"),
        (DAYS[1], "warning", "warning"),
        (DAYS[3], "critical", "warning"),
    ]
    assert judged[1].metric.value == 0.6, "the weighted one"
    assert "selection by score" in judged[0].note
    assert judged[2].note == ""


def test_a_drop_is_measured_from_the_baseline_of_the_run(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, gates={"estimated": {"metric": "roc_auc", "max_drop": 0.1}})
    new = [recorded(job, day, UNSURE) for day in DAYS[:2]]
    baseline = EstimateRecord(baseline=(MetricRecord(name="roc_auc", value=0.85),))
    manifest = published_run(run_id=run_id(2), partition=DAYS[1], estimate=baseline)
    write_manifest(state_store(job), f"ds={DAYS[1]}", manifest)

    (judged,) = judge_evaluations(job, new)
    assert (judged.record.partition, judged.severity) == (DAYS[1], "critical")
    assert judged.expected == "roc_auc of at least 0.75 (the baseline's 0.85 less 0.1)"


def test_a_regression_is_judged_by_what_was_evaluated(bare_lake: Lake) -> None:
    rows = predictions(400).select("id", prediction=pl.col("probability") * 100)
    job = labelled_job(bare_lake, gates={"estimated": {"metric": "rmse", "max_rise": 1}})
    for n, day in enumerate(DAYS[:2], 1):
        manifest = publish(job, day, rows, n=n)
        baseline = EstimateRecord(baseline=(MetricRecord(name="rmse", value=3.0),))
        expected = manifest.model_copy(update={"estimate": baseline})
        write_manifest(state_store(job), f"ds={day}", expected)

    def labels(day: str, error: float) -> pl.DataFrame:
        sign = 1 - 2 * (pl.col("id") % 2)
        return rows.select("id", ds=pl.lit(day), late=pl.col("prediction") + sign * error)

    write_labels(bare_lake, pl.concat([labels(DAYS[0], 3.5), labels(DAYS[1], 6.0)]))
    records = evaluate(job, datetime(2024, 3, 20, tzinfo=UTC)).records
    good, bad = judge_evaluations(job, records)
    assert (good.severity, bad.severity, bad.was) == ("ok", "critical", "ok")
    assert bad.metric.value == pytest.approx(6.0)
    assert bad.expected == "rmse of at most 4 (the baseline's 3 plus 1)"
