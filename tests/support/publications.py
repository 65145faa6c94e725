"""Parts of runs, written as workers write them, and what readers see of them."""

from collections.abc import Sequence

import pyarrow as pa

from nightscore.ledger.layout import part_path, parts_folder, parts_store
from nightscore.ledger.output_formats import format_of
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import PartWriter, WrittenPart
from nightscore.schemas.job import ScoringJob

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("prediction", pa.float64()),
        ("run_id", pa.dictionary(pa.int32(), pa.string())),
    ]
)
PER_PART = 50


def run_id(n: int) -> str:
    return f"01a2095c-1262-7217-9c92-{n:012d}"


def publication(
    job: ScoringJob,
    n: int,
    value: str = "x",
    n_parts: int = 3,
    schema: pa.Schema = SCHEMA,
    n_rows: int = PER_PART,
) -> Publication:
    """A run's parts; its number is the prediction in every row."""
    folder = f"ds={value}"
    rows = _rows(n, schema).slice(0, n_rows)
    parts: Sequence[WrittenPart] = [_write_part(job, n, folder, i, rows) for i in range(n_parts)]
    if (seal := format_of(job).seal) is not None:
        parts = [seal(job, folder, run_id(n), parts, schema)]
    return Publication(
        run_id=run_id(n),
        fingerprint=f"sha256:{n}",
        key="ds",
        value=value,
        folder=folder,
        parts=tuple(parts),
        schema=schema,
    )


def _rows(n: int, schema: pa.Schema) -> pa.Table:
    columns = {
        "id": pa.array(range(PER_PART), pa.int64()),
        "prediction": pa.array([float(n)] * PER_PART),
        "run_id": pa.array([run_id(n)] * PER_PART).dictionary_encode(),
    }
    arrays = [columns[name].cast(schema.field(name).type) for name in schema.names]
    return pa.table(arrays, schema=schema)


def _write_part(job: ScoringJob, n: int, folder: str, shard: int, rows: pa.Table) -> WrittenPart:
    path = part_path(parts_folder(job, folder, run_id(n)), run_id(n), shard, 0)
    keep_types = format_of(job).stores_arrow_schema
    with PartWriter(parts_store(job), path, rows.schema, keep_types=keep_types) as writer:
        writer.write(rows)
        return writer.close()
