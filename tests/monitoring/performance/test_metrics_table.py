"""All metrics of all evaluations as one long table."""

import io
from datetime import timedelta

import polars as pl
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from nightscore.ledger.layout import state_store
from nightscore.monitoring.performance.metrics_table import SCHEMA, metrics_table
from nightscore.operations.evaluate import evaluate
from nightscore.schemas.performance import (
    AdjustedRecord,
    EstimateRecord,
    MetricRecord,
    SegmentRecord,
)
from tests.support.evaluations import evaluation
from tests.support.lake import Lake
from tests.support.outcomes import (
    DAYS,
    NOW,
    labelled_job,
    labels_of,
    predictions,
    publish,
    write_labels,
)


def rows_of(content: bytes) -> pl.DataFrame:
    frame = pl.read_parquet(content)
    assert frame.columns == SCHEMA.names
    return frame


def test_each_metric_is_a_row_by_kind_and_segment(bare_lake: Lake) -> None:
    auc = MetricRecord(name="roc_auc", value=0.7, low=0.6, high=0.8, n=100)
    record = evaluation(
        "2024-03-01",
        (0.65, 0.55, 0.75),
        is_matured=False,
        weighted=(auc, MetricRecord(name="brier", note="too few")),
        adjusted=AdjustedRecord(metrics=(auc,)),
        segments=(SegmentRecord(segment="origin=JFK", n=40, metrics=(auc,)),),
    )
    manifest = publish(labelled_job(bare_lake), DAYS[0], predictions(10))
    estimate = EstimateRecord(metrics=(auc,), baseline=(auc,))
    expected = manifest.model_copy(update={"estimate": estimate})

    rows = rows_of(metrics_table(record, expected))
    assert rows.select("kind", "segment", "metric", "value").rows() == [
        ("realised", "", "roc_auc", 0.65),
        ("weighted", "", "roc_auc", 0.7),
        ("weighted", "", "brier", None),
        ("adjusted", "", "roc_auc", 0.7),
        ("estimated", "", "roc_auc", 0.7),
        ("baseline", "", "roc_auc", 0.7),
        ("realised", "origin=JFK", "roc_auc", 0.7),
    ]
    assert rows["note"].to_list()[2] == "too few"
    assert set(rows["is_matured"]) == {False}
    assert set(rows["evaluated_at"]) == {record.made_at}

    without_record = rows_of(metrics_table(record, None))
    assert set(without_record["kind"]) == {"realised", "weighted", "adjusted"}


def test_the_tables_of_all_evaluations_are_one(bare_lake: Lake) -> None:
    job = labelled_job(bare_lake, drift={"segments": ["color"]})
    frames = {day: predictions(300, seed=n) for n, day in enumerate(DAYS)}
    for n, day in enumerate(DAYS):
        publish(job, day, frames[day], n=n)
    labels = {day: labels_of(frames[day], day) for day in DAYS}
    write_labels(bare_lake, pl.concat(labels.values()))
    records = evaluate(job, NOW).records
    write_labels(
        bare_lake, pl.concat([labels[DAYS[0]].head(100), labels[DAYS[1]], labels[DAYS[2]]])
    )
    later = evaluate(job, NOW + timedelta(days=1)).records

    files = state_store(job).list_files("performance")
    assert sorted(file.path for file in files) == sorted(one.table for one in (*records, *later))

    folder = f"{bare_lake.root}/predictions.nightscore/performance"
    table = pl.read_parquet(f"{folder}/**/*.parquet")
    known = table.sort("evaluated_at").unique(
        ["partition", "kind", "segment", "metric"], keep="last"
    )
    aucs = dict(
        known.filter(metric="roc_auc", kind="realised", segment="")
        .select("partition", "value")
        .rows()
    )
    for day, n_rows in zip(DAYS, (100, 300, 300), strict=True):
        truth = labels[day]["late"].head(n_rows)
        assert (
            abs(aucs[day] - roc_auc_score(truth, frames[day]["probability"].head(n_rows))) < 1e-12
        )
    assert set(table["segment"]) == {"", "color=red", "color=green"}


def test_the_file_says_what_its_columns_are() -> None:
    content = metrics_table(evaluation("2024-03-01", (0.6, 0.5, 0.7)), None)
    assert pq.read_schema(io.BytesIO(content)).equals(SCHEMA)
