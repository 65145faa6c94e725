"""What nightscore does with a Delta table: create it, list its live files, commit partitions."""

import json
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from nightscore.errors import InputError
from nightscore.ledger.layout import run_id_of
from nightscore.ledger.live import Live
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import WrittenPart
from nightscore.storage.store import Store

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa

PLAIN_FEATURES = frozenset({"timestampNtz"})
"""What readers must know that changes nothing about which rows of a file count."""

CHECKPOINT_EVERY = 20
"""Commits between checkpoints of a table that is created here.

Whoever opens, updates or commits to a table reads all commits since the last checkpoint, 0.1 ms
each. A checkpoint of 365 files takes 2 ms. delta-rs' own default is 100, Spark's 10."""

CLEANED_EVERY = 100
"""Commits after which expired entries of the log are removed."""


def create_table(store: Store, publication: Publication, name: str) -> None:
    """Create the table for a publication, unless somebody else was first."""
    DeltaTable.create(
        store.table_url,
        to_delta_schema(publication.schema, publication.key),
        mode="ignore",
        partition_by=[publication.key],
        name=name,
        configuration={"delta.checkpointInterval": str(CHECKPOINT_EVERY)},
        storage_options=store.table_options(),
    )


def to_delta_schema(schema: "pa.Schema", key: str) -> Schema:
    """The table's schema: columns of the parts, then the partition column, always a string.

    Dictionaries become the type of their values.
    """
    import pyarrow as pa

    fields = []
    for field in schema:
        is_encoded = pa.types.is_dictionary(field.type)
        arrow_type = field.type.value_type if is_encoded else field.type
        fields.append(pa.field(field.name, arrow_type))
    return Schema.from_arrow(pa.schema([*fields, pa.field(key, pa.string())]))


def missing_fields(table: DeltaTable, wanted: Schema) -> list[Field]:
    """Columns that the table does not have yet."""
    existing = {field.name for field in table.schema().fields}
    return [field for field in wanted.fields if field.name not in existing]


def list_files(table: DeltaTable, key: str) -> list[tuple[str | None, str]]:
    """Partition value and path of each live file. Paths are encoded as in the log."""
    actions = table.get_add_actions(flatten=True)
    values = actions.column(f"partition.{key}").to_pylist()
    paths = actions.column("path").to_pylist()
    return list(zip(values, paths, strict=True))


def live_of(encoded_paths: Iterable[str], version: str) -> Live:
    """The record of a partition's live files.

    Its run is the one that wrote all files. There is none if another writer has added some,
    whatever else is there.
    """
    paths = tuple(sorted(unquote(path) for path in encoded_paths))
    run_ids = {run_id_of(path) for path in paths}
    run_id = run_ids.pop() if len(run_ids) == 1 else None
    return Live(run_id, paths, version)


def commit(table: DeltaTable, publications: Sequence[Publication]) -> None:
    """Replace the files of some partitions of one key in the table's next version.

    Raises:
        CommitFailedError: Somebody else took that version.
    """
    key = publications[0].key
    actions: list[AddAction | RemoveAction] = []
    for publication in publications:
        actions += [_add(part, publication) for part in publication.parts]

    # Looking for expired entries lists the whole log.
    is_cleaning = table.version() % CLEANED_EVERY == 0

    table.create_write_transaction(
        actions,
        mode="overwrite",
        schema=table.schema(),
        partition_by=[key],
        partition_filters=[_filter(key, publications)],
        post_commithook_properties=PostCommitHookProperties(
            cleanup_expired_logs=None if is_cleaning else False
        ),
        commit_properties=CommitProperties(
            # No rebase: delta-rs sees no conflict between two first publications of a partition,
            # and would commit both. The publisher compares and tries again by itself.
            max_commit_retries=0,
            custom_metadata=_metadata(publications),
        ),
    )


def _filter(key: str, publications: Sequence[Publication]) -> tuple[str, str, Any]:
    """The partitions whose files are replaced."""
    if len(publications) == 1:
        value = publications[0].value
        # delta-rs writes the partition without value as the empty string in a filter.
        return (key, "=", "" if value is None else value)

    return (key, "in", [publication.value for publication in publications])


def _add(part: WrittenPart, publication: Publication) -> AddAction:
    return AddAction(
        path=part.file.path,
        size=part.file.size_bytes,
        partition_values={publication.key: publication.value},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=part.stats,
    )


def _metadata(publications: Sequence[Publication]) -> dict[str, Any]:
    """What the log says of a commit. That of several partitions has lists."""
    if len(publications) > 1:
        return {
            "nightscore.run_ids": json.dumps([one.run_id for one in publications]),
            "nightscore.fingerprints": json.dumps([one.fingerprint for one in publications]),
            "nightscore.partitions": json.dumps([one.value for one in publications]),
        }

    (publication,) = publications
    return {
        "nightscore.run_id": publication.run_id,
        "nightscore.fingerprint": publication.fingerprint,
        "nightscore.partition": json.dumps(publication.value),
    }


def are_same(current: Live | None, planned: Live | None) -> bool:
    """Whether readers see the files that were planned against."""
    return _paths(current) == _paths(planned)


def _paths(live: Live | None) -> Collection[str]:
    return set(live.paths) if live else set()


def current_files(store: Store) -> tuple[list[str], list[tuple[str, dict[str, str | None]]]]:
    """The partition columns of a table, and path and partition values of each current file.

    Raises:
        InputError: The table's log cannot be read, not all rows of the current files are current,
            or columns have other names.
    """
    try:
        table = DeltaTable(store.table_url, storage_options=store.table_options())
    except DeltaError as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            "The log of the Delta table cannot be read.",
            store.url,
            expected="a folder _delta_log/ with the table's versions",
            found=reason[0],
            next_step="repair the table, or give a folder of plain Parquet files",
        ) from error

    features = set(table.protocol().reader_features or ()) - PLAIN_FEATURES
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        features.add(f"columnMapping ({mapping})")

    if features:
        raise InputError(
            "The files of this Delta table cannot be read without its log.",
            store.url,
            expected="a table without deletion vectors and column mapping",
            found=", ".join(sorted(features)),
            next_step="have its current rows written as plain Parquet partitions, and give those",
        )

    import pyarrow as pa

    columns = table.metadata().partition_columns
    actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
    files = []
    for action in actions.to_pylist():
        values = {name: _as_text(action[f"partition.{name}"]) for name in columns}
        files.append((unquote(action["path"]), values))

    return columns, files


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)
