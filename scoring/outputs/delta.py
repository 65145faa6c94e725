"""Publishes into a Delta table: one commit a partition."""

import json
import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from nightscore.errors import (
    ConflictError,
    ContractError,
    CredentialsError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.ledger.layout import run_id_of, sealed_path
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.foreign import check_no_other_table
from nightscore.outputs.handle import TableHandle, mapped, n_attempts
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import WrittenPart, find_parts
from nightscore.outputs.writer_features import (
    feature_problems,
    null_problems,
    ownership_problems,
    partition_problems,
    schema_problems,
    unfilled_columns,
)
from nightscore.schemas.manifest import Manifest
from nightscore.storage.protocol import Entry

COMMIT_ATTEMPTS = 100
"""Publishers of other partitions make a commit fail too, each at most once per commit of theirs."""
CHECKPOINT_EVERY = 20
"""Commits of a table that is created here. Whoever opens it, updates it or commits reads all commits since the last
checkpoint, .1 ms each; one of 365 files takes 2 ms. delta-rs' own default is 100, Spark's 10."""
CLEANED_EVERY = 100
"""Commits after which what has expired of the log is removed."""
RETRY_PAUSE_S = 0.05
"""Grows to ten times this, and is drawn at random, so that publishers do not meet again and again."""


class DeltaPublisher:
    """See `Publisher`."""

    def __init__(self, workspace: Workspace) -> None:
        self._job = workspace.job
        self._store = workspace.predictions
        self._handle = TableHandle(self._store, workspace.run_cache)
        self._is_proven = False
        """Nightscore has committed here before: the store was probed then."""

    def check(self) -> None:
        """See `Publisher`. A store is probed before the first commit to a table, whoever has created that."""
        if not self._is_proven and self._store.needs_probe:
            self._store.sibling(".nightscore").check_exclusive()

    def check_fits(self, schema: pa.Schema, value: str | None) -> tuple[str, ...]:
        """See `Publisher`. The commit looks again."""
        unfilled: list[str] = []
        with self._handle.loaded() as table:
            if table is None:
                self._check_place()
            else:
                self._check_table(table, schema, value)
                unfilled = unfilled_columns(
                    table, _table_schema(schema, self._job.input.partition_key)
                )
        if not unfilled:
            return ()
        return (
            f"the table has columns that this job does not write; they will be null: {', '.join(unfilled)}",
        )

    def live(self, value: str | None) -> Live | None:
        """See `Publisher`."""
        self._is_proven = False
        with self._handle.loaded() as table:
            if table is None:
                return None
            files, version = list(self._files_of(table)), str(table.version())
        self._is_proven = any(run_id_of(path) for _, path in files)
        paths = [path for found, path in files if found == value]
        return _live(paths, version) if paths else None

    def all_live(self) -> dict[str | None, Live]:
        """See `Publisher`."""
        paths: dict[str | None, list[str]] = {}
        with self._handle.loaded() as table:
            if table is None:
                return {}
            version = str(table.version())
            for value, path in self._files_of(table):
                paths.setdefault(value, []).append(path)
        return {value: _live(found, version) for value, found in paths.items()}

    def publish(
        self, publication: Publication, planned: Live | None
    ) -> tuple[tuple[WrittenPart, ...], int | None]:
        """See `Publisher`.

        A commit is the table's next version or none. One that fails is tried again as long as the partition is
        still the one that was planned against, since other partitions' publishers take versions too.
        """
        failure: StorageError | None = None
        n_failed = 0
        tried: int | None = None
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                with self._handle.loaded() as table:
                    before, tried = tried, None if table is None else table.version()
                    version = self._try(table, publication, planned)
                if version is not None:
                    return publication.parts, version
                continue
            except (CommitFailedError, DeltaError, OSError) as error:
                failure = mapped(error, self._store.url)
                if isinstance(error, CommitFailedError):
                    failure = _refused(error, self._store.url)
                # A commit that fails although nobody else has taken the version fails for a reason of its own.
                n_failed += not isinstance(error, CommitFailedError) or tried == before
                if isinstance(failure, CredentialsError) or n_failed >= n_attempts(error):
                    raise failure from error
            time.sleep(random.uniform(0.2, 1.0) * RETRY_PAUSE_S * min(attempt + 1, 10))  # noqa: S311
        raise StorageUnavailableError(
            "The table's commit did not succeed.",
            self._store.url,
            expected=f"one of {COMMIT_ATTEMPTS} attempts to be accepted",
            found=failure.found if failure else "",
            next_step="check the store, then run again: readers still see the old predictions",
        ) from failure

    def _try(
        self, table: DeltaTable | None, publication: Publication, planned: Live | None
    ) -> int | None:
        """The version of the commit, this one's or that of a try before; None: the table had to be created first.

        Raises:
            ConflictError, StorageError: The partition is no longer the one that was planned against.
            CommitFailedError: Somebody else took the version.
        """
        if table is None:
            if planned is not None:
                raise self._conflict(publication, planned, None)
            self._create(publication)  # and look again: another run may have been first
            return None
        ours = {part.file.path for part in publication.parts}
        current = self._live_in(table, publication.value)
        if current is not None and set(current.paths) == ours:
            return table.version()  # the answer to our commit was lost, not the commit
        if (current and set(current.paths)) != (planned and set(planned.paths)):
            if current is not None and ours & set(current.paths):
                raise StorageError(
                    "The table holds this run's files together with others; none of them was touched.",
                    f"{self._store.url}/{publication.folder}",
                    expected="the files of one run",
                    found=", ".join(current.paths[:6]),
                    next_step="publish the partition again with --force, and look for another writer",
                )
            raise self._conflict(publication, planned, current)
        self._check_table(table, publication.schema, publication.value, publication.parts)
        if new := self._new_fields(table, publication.schema):
            table.alter.add_columns(new)
        publication.check()
        self._commit(table, publication)
        return table.version() + 1  # the table itself is as it was before

    def find_results(self, manifest: Manifest) -> tuple[WrittenPart, ...]:
        """See `Publisher`."""
        return find_parts(self._store, {file.path: file for file in manifest.output.files})

    def drop(self, manifest: Manifest) -> None:
        """See `Publisher`."""
        self._store.delete([file.path for file in manifest.output.files])

    def list_written(self) -> list[Entry]:
        """See `Publisher`."""
        entries = self._store.list_files()
        return [
            e
            for e in entries
            if not e.path.startswith("_delta_log/") and run_id_of(e.path) is not None
        ]

    def unneeded(
        self,
        written: Sequence[Entry],
        live: Collection[Live],
        published: Mapping[str, Collection[str]],
        kept_runs: Collection[str],
    ) -> list[Entry]:
        """See `Publisher`. Of a run that was published, too, those are not needed that were scored twice."""
        kept = {path for one in live for path in one.paths}
        kept |= {path for paths in published.values() for path in paths}
        return [
            entry
            for entry in written
            if entry.path not in kept and run_id_of(entry.path) not in kept_runs
        ]

    def _create(self, publication: Publication) -> None:
        DeltaTable.create(
            self._store.table_url,
            _table_schema(publication.schema, publication.key),
            mode="ignore",
            partition_by=[publication.key],
            name=self._job.name,
            configuration={"delta.checkpointInterval": str(CHECKPOINT_EVERY)},
            storage_options=self._store.table_options(),
        )

    def _live_in(self, table: DeltaTable, value: str | None) -> Live | None:
        paths = [path for found, path in self._files_of(table) if found == value]
        return _live(paths, str(table.version())) if paths else None

    def _files_of(self, table: DeltaTable) -> Iterable[tuple[str | None, str]]:
        """Partition value and path, as the log encodes it, of each file.

        Raises:
            ContractError: The table has other partitions, so that nobody can say which files are a partition's.
        """
        key = self._job.input.partition_key
        if problems := partition_problems(table, key):
            raise self._misfit([*problems, *ownership_problems(table), *feature_problems(table)])
        actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
        values = actions.column(f"partition.{key}").to_pylist()
        return zip(values, actions.column("path").to_pylist(), strict=True)

    def _check_table(
        self,
        table: DeltaTable,
        schema: pa.Schema,
        value: str | None,
        parts: Sequence[WrittenPart] = (),
    ) -> None:
        """Raise ContractError unless the table takes these columns, and what is in the files, as it asks for."""
        key = self._job.input.partition_key
        wanted = _table_schema(schema, key)
        problems = [
            *schema_problems(table, wanted, key, value),
            *ownership_problems(table),
            *feature_problems(table),
            *null_problems(table, parts, key),
        ]
        if problems:
            raise self._misfit(problems)

    def _check_place(self) -> None:
        """Raise StorageError if a new table would stand among files that it does not know."""
        key, folders = self._job.input.partition_key, self._store.list_folders()
        check_no_other_table(self._store, folders)
        sealed = [
            f for f in folders if f.startswith(f"{key}=") and self._store.exists(sealed_path(f))
        ]
        if sealed:
            raise StorageError(
                "The output holds one object a partition; a Delta table beside them would be read twice.",
                self._store.url,
                expected="an empty folder or a Delta table",
                found=f"{sealed_path(sealed[0])}",
                next_step="use output.format: parquet, or another output.uri",
            )

    def _misfit(self, problems: Sequence[str]) -> ContractError:
        return ContractError(
            "The predictions do not fit the existing table; nothing was published.",
            self._store.url,
            problems=problems,
            next_step="write to another output.uri, move the old table away, or have its owner change the table",
        )

    def _new_fields(self, table: DeltaTable, schema: pa.Schema) -> list[Field]:
        """Columns that the table does not have yet."""
        existing = {field.name for field in table.schema().fields}
        wanted = _table_schema(schema, self._job.input.partition_key)
        return [field for field in wanted.fields if field.name not in existing]

    def _commit(self, table: DeltaTable, publication: Publication) -> None:
        value = publication.value
        table.create_write_transaction(
            [
                AddAction(
                    path=part.file.path,
                    size=part.file.size_bytes,
                    partition_values={publication.key: value},
                    modification_time=int(time.time() * 1000),
                    data_change=True,
                    stats=part.stats,
                )
                for part in publication.parts
            ],
            mode="overwrite",
            schema=table.schema(),
            partition_by=[publication.key],
            # delta-rs writes the partition without value as the empty string in a filter.
            partition_filters=[(publication.key, "=", "" if value is None else value)],
            post_commithook_properties=PostCommitHookProperties(
                # Looking for what has expired lists the whole log.
                cleanup_expired_logs=None if table.version() % CLEANED_EVERY == 0 else False
            ),
            commit_properties=CommitProperties(
                # No rebase: delta-rs sees no conflict between two first publications of a partition, and would
                # commit both. The next version or none; this class compares and tries again.
                max_commit_retries=0,
                custom_metadata={
                    "nightscore.run_id": publication.run_id,
                    "nightscore.fingerprint": publication.fingerprint,
                    "nightscore.partition": json.dumps(value),
                },
            ),
        )

    def _conflict(
        self, publication: Publication, planned: Live | None, current: Live | None
    ) -> ConflictError:
        return ConflictError(
            "Another run published this partition meanwhile; this run published nothing.",
            f"{self._store.url}/{publication.folder}",
            expected=f"run {planned.run_id}"
            if planned
            else "no predictions, as when this run was planned",
            found=f"run {current.run_id}" if current else "no predictions",
            next_step="look at that run; run again with --force only if its predictions should be replaced",
        )


def _refused(error: CommitFailedError, where: str) -> StorageError:
    """Of a commit whose version nobody else has taken."""
    found = str(error)
    if "Failed to commit transaction" in found:  # the store said that there is such a version
        return StorageUnavailableError(
            "The store refuses the table's next version as taken, and shows no commit that has taken it.",
            where,
            found=found,
            next_step="run again: readers still see the old predictions; look for another writer that hangs",
        )
    return StorageError(
        "The table does not accept the commit; nothing was published.",
        where,
        found=found,
        next_step="ask the table's owner what it asks of its writers, or write to another output.uri",
    )


def _live(paths: Iterable[str], version: str) -> Live:
    found = tuple(sorted(unquote(path) for path in paths))
    return Live(_run_of(found), found, version)


def _run_of(paths: Collection[str]) -> str | None:
    """The one run that wrote the files; None where another writer has added some, whatever else is there."""
    runs = {run_id_of(path) for path in paths}
    return runs.pop() if len(runs) == 1 else None


def _table_schema(schema: pa.Schema, key: str) -> Schema:
    """The parts' columns, dictionaries as what they hold, and the partition column: always a string."""
    fields = [
        pa.field(
            field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        )
        for field in schema
    ]
    return Schema.from_arrow(pa.schema([*fields, pa.field(key, pa.string())]))
