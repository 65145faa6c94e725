"""An evaluation's metrics as one long table, with a row for each metric.

The tables of many evaluations give the series of a metric.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pyarrow as pa

from nightscore.arrow.long_table import to_parquet
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.performance import MetricRecord

Kind = Literal["realised", "weighted", "estimated", "adjusted", "baseline"]
"""What came true of the labelled rows; of early labels, weighted to stand for all rows; what the
run had estimated before; the same adjusted for covariate shift, if there is a sample of its rows;
what came true in the baseline that it was estimated from."""

SCHEMA = pa.schema(
    [
        ("partition", pa.string()),
        ("run_id", pa.string()),
        ("is_replaced", pa.bool_()),
        ("model_version", pa.string()),
        ("evaluated_at", pa.timestamp("us", "UTC")),
        ("is_matured", pa.bool_()),
        ("segment", pa.string()),
        ("kind", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("note", pa.string()),
    ]
)
"""`segment` is empty for all rows. `value`, `low` and `high` are null where they are not known;
`low` and `high` are the ends of the 95 % band. `n` is the number of rows that a metric is of."""


def metrics_table(record: EvaluationRecord, manifest: Manifest | None) -> bytes:
    """One evaluation's rows, as a Parquet file with the columns of `SCHEMA`.

    Args:
        record: The evaluation.
        manifest: Of its run. None: it cannot be read, and its estimates are left out.
    """
    return to_parquet(pa.Table.from_pylist(list(_rows(record, manifest)), SCHEMA))


def _rows(record: EvaluationRecord, manifest: Manifest | None) -> Iterator[dict[str, Any]]:
    whole = {
        "partition": record.partition,
        "run_id": record.run_id,
        "is_replaced": record.is_replaced,
        "model_version": record.model_version,
        "evaluated_at": record.made_at,
        "is_matured": record.is_matured,
        "segment": "",
    }

    yield from _of_kind("realised", record.metrics, whole)
    yield from _of_kind("weighted", record.weighted, whole)

    if record.adjusted is not None:
        yield from _of_kind("adjusted", record.adjusted.metrics, whole)

    if manifest is not None and manifest.estimate is not None:
        yield from _of_kind("estimated", manifest.estimate.metrics, whole)
        yield from _of_kind("baseline", manifest.estimate.baseline, whole)

    for segment in record.segments:
        yield from _of_kind("realised", segment.metrics, whole | {"segment": segment.segment})


def _of_kind(
    kind: Kind, metrics: Iterable[MetricRecord], common: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for metric in metrics:
        yield common | {
            "kind": kind,
            "metric": metric.name,
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "n": metric.n,
            "note": metric.note,
        }
