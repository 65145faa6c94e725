"""Reads the predictions of a partition, as readers see them now."""

from collections.abc import Sequence

import pyarrow as pa

from nightscore.arrow.parsing.files import read_facts, read_tables
from nightscore.errors import ContractError, PartitionNotFoundError
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publish import open_publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import show_value

READ_ROWS = 100_000
"""Rows decoded at a time."""


def read_predictions(
    job: ScoringJob, value: str | None, columns: Sequence[str] | None = None
) -> pa.Table:
    """The published predictions of one partition, in memory, with the partition key as last column.

    Args:
        job: Names the output.
        value: Partition value; None for Hive's default partition.
        columns: Columns to read, in this order; None for all.

    Raises:
        PartitionNotFoundError: Nothing is published for the partition.
        ContractError: The predictions lack one of the columns.
        StorageError: The store failed, or a newer publication replaced the files while they were
            read.
    """
    workspace = Workspace(job)
    live = open_publisher(workspace).live(value)

    if live is None:
        raise PartitionNotFoundError(
            "No predictions are published for this partition.",
            f"{job.output.uri}, {job.input.partition_key}={show_value(value)}",
            expected="a published run",
            next_step=f"`{job.command('partitions')}` lists what is published",
        )

    store = workspace.predictions
    schema = read_facts(store, live.paths[0]).schema
    key = job.input.partition_key
    names = [*schema.names, key] if columns is None else list(columns)
    unknown = [name for name in names if name != key and name not in schema.names]

    if unknown:
        raise ContractError(
            "The predictions have no such columns.",
            store.url,
            expected=f"some of {', '.join([*schema.names, key])}",
            found=", ".join(unknown),
            next_step="name other columns, or leave `columns` out to read all",
        )

    stored_names = [name for name in schema.names if name in names]
    tables = [
        table for path in live.paths for table in read_tables(store, path, stored_names, READ_ROWS)
    ]
    stored = pa.concat_tables(tables)
    partition_column = pa.array([value] * stored.num_rows, pa.string())

    return stored.append_column(key, partition_column).select(names)
