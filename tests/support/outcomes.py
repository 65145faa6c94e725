"""Published predictions of partitions, and labels of them, without a model that scores."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nightscore.ledger.layout import part_path, parts_folder, parts_store
from nightscore.ledger.manifest_files import write_manifest
from nightscore.ledger.output_formats import format_of
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import PartWriter
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import (
    FileRecord,
    InputsRecord,
    Manifest,
    ModelRecord,
    OutputRecord,
    QuarantineRecord,
)
from nightscore.storage.store import Store
from tests.support.lake import Lake
from tests.support.publications import run_id

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03")
DAY = DAYS[0]
NOW = datetime(2024, 3, 20, tzinfo=UTC)
"""When labels are looked at: all of them are matured by then."""


def labelled_job(lake: Lake, **changes: Any) -> ScoringJob:
    """A job with labels in `labels/`, by key and day. `labels` adds to the section."""
    labels = {
        "uri": f"{lake.root}/labels",
        "key": ["id"],
        "partition": {"column": "ds"},
        "column": "late",
    }
    labels |= changes.pop("labels", {})
    return lake.job(labels={k: v for k, v in labels.items() if v is not None}, **changes)


def labelled_day(lake: Lake, **changes: Any) -> ScoringJob:
    """Such a job with 100 predictions of one day published, and the labels of them."""
    job = labelled_job(lake, **changes)
    publish(job, DAY, predictions(100))
    write_labels(lake, labels_of(predictions(100), DAY))
    return job


def predictions(n_rows: int, seed: int = 0, first_id: int = 0) -> pl.DataFrame:
    """Keys, the class and the probability of a model of two classes, and a column to segment by."""
    import numpy as np

    rng = np.random.default_rng(seed)
    score = rng.random(n_rows)
    return pl.DataFrame(
        {
            "id": np.arange(first_id, first_id + n_rows),
            "color": rng.choice(["red", "green"], n_rows),
            "prediction": (score > 0.5).astype("int64"),
            "probability": score,
        }
    )


def labels_of(rows: pl.DataFrame, day: str, seed: int = 1) -> pl.DataFrame:
    """A label for each prediction, true as often as its probability says."""
    import numpy as np

    rng = np.random.default_rng(1_000 + seed)
    late = (rng.random(rows.height) < rows["probability"].to_numpy()).astype("int64")
    return pl.DataFrame({"id": rows["id"], "ds": [day] * rows.height, "late": late})


def write_labels(lake: Lake, labels: pl.DataFrame | pa.Table, path: str = "part-0.parquet") -> None:
    """One file of labels, in place of the one that is there."""
    with Store(f"{lake.root}/labels", lake.options).open_output(path) as file:
        pq.write_table(labels if isinstance(labels, pa.Table) else labels.to_arrow(), file)


def publish(
    job: ScoringJob, day: str, rows: pl.DataFrame, n: int = 1, **quarantine: Mapping[str, Any]
) -> Manifest:
    """Publish rows as a run's predictions, with its record.

    Args:
        job: Whose.
        day: The partition.
        rows: Without model version and run id.
        n: Tells runs apart: a later one has a greater number.
        quarantine: `quarantined`: rows in the run's quarantine.
    """
    run, folder = run_id(n), f"ds={day}"
    workspace = Workspace(job)
    table = _with_origin(rows, run)

    path = part_path(parts_folder(job, folder, run), run, 0, 0)
    keep_types = format_of(job).stores_arrow_schema
    with PartWriter(parts_store(job), path, table.schema, keep_types=keep_types) as writer:
        writer.write(table)
        parts = [writer.close()]
    if (seal := format_of(job).seal) is not None:
        parts = [seal(job, folder, run, parts, table.schema)]

    publisher = open_publisher(workspace)
    publication = Publication(
        run_id=run,
        fingerprint=f"sha256:{n}",
        key="ds",
        value=day,
        folder=folder,
        parts=tuple(parts),
        schema=table.schema,
    )
    written, version = publisher.publish(publication, publisher.live(day))

    now = datetime.now(UTC)
    manifest = Manifest(
        run_id=run,
        status="published",
        job=job.name,
        partition_key="ds",
        partition=day,
        started_at=now,
        finished_at=now,
        host="test",
        pid=1,
        engine="test",
        model=ModelRecord(uri=job.model, name="m", version="3"),
        inputs=InputsRecord(uri=job.input.uri),
        output=OutputRecord(
            uri=job.output.uri,
            format=job.output.format,
            files=tuple(part.file for part in written),
            table_version=version,
        ),
        quarantine=_quarantine(workspace, folder, run, quarantine.get("quarantined")),
    )
    return write_manifest(workspace.state, folder, manifest)


def _with_origin(rows: pl.DataFrame, run: str) -> pa.Table:
    table = rows.to_arrow()
    for index, field in enumerate(table.schema):
        if pa.types.is_large_string(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.string()))

    for name, value in (("model_version", "3"), ("run_id", run)):
        column = pa.array([value] * table.num_rows, pa.string()).dictionary_encode()
        table = table.append_column(name, column)
    return table


def _quarantine(
    workspace: Workspace, folder: str, run: str, rows: pl.DataFrame | None
) -> QuarantineRecord:
    if rows is None:
        return QuarantineRecord()

    path = f"quarantine/{folder}/{run}-00000-0-0.parquet"
    with workspace.state.open_output(path) as file:
        pq.write_table(rows.to_arrow(), file)
    record = FileRecord(path=path, size_bytes=1, rows=rows.height, sha256="")
    return QuarantineRecord(files=(record,))
