"""`output.format: parquet`: one object a partition, for consumers that only glob."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nightscore.ledger.output_formats import OutputFormat
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publisher import Publisher
from nightscore.outputs.writer import WrittenPart
from nightscore.schemas.job import ScoringJob

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa


def storage_type(arrow_type: "pa.DataType") -> "pa.DataType":
    """See `OutputFormat`. Each object has a schema of its own, with any type of Arrow."""
    return arrow_type


def open_publisher(workspace: Workspace) -> Publisher:
    """The publisher of a job's objects."""
    from nightscore.outputs.parquet_publisher import ParquetPublisher

    return ParquetPublisher(workspace)


def seal(
    job: ScoringJob, folder: str, run_id: str, parts: Sequence[WrittenPart], schema: "pa.Schema"
) -> WrittenPart:
    """See `OutputFormat`."""
    from nightscore.outputs.parquet_publisher import seal

    return seal(job, folder, run_id, parts, schema)


FORMAT = OutputFormat(
    name="parquet",
    title="one object a partition",
    requirement="One object a partition needs conditional copies",
    is_supported=lambda able: able.can_replace,
    writes_in_place=False,
    stores_arrow_schema=True,
    ignores_case=False,
    driver_bytes=0,
    storage_type=storage_type,
    open_publisher=open_publisher,
    seal=seal,
)
