"""Publishes one Parquet object a partition, for consumers that only glob."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from nightscore.arrow.parsing.files import read_facts
from nightscore.errors import (
    ConflictError,
    CorruptFileError,
    LocationNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.ledger.layout import (
    SEALED_INDEX,
    run_id_of,
    sealed_history_path,
    sealed_path,
    staging_folder,
    state_store,
)
from nightscore.ledger.listing_index import Listing, recall
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.foreign import TABLE_FOLDERS, check_no_other_table, check_own_files
from nightscore.outputs.merge import read_tables
from nightscore.outputs.publisher import Publication, describe_run
from nightscore.outputs.splice import splice
from nightscore.outputs.writer import PartWriter, WrittenPart, find_parts
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import decode_folder, encode_folder
from nightscore.storage.protocol import Entry

if TYPE_CHECKING:  # a partition that is unchanged needs no Arrow
    import pyarrow as pa

RUN_KEY = "nightscore.run_id"
"""In the footer of each object: the run that wrote it."""


class ParquetPublisher:
    """See `Publisher`. The object's own footer says which run wrote it."""

    def __init__(self, workspace: Workspace) -> None:
        """Open nothing yet."""
        self._key = workspace.job.input.partition_key
        self._store = workspace.predictions
        self._state = workspace.state

    def check(self) -> None:
        """See `Publisher`."""
        self._state.check_conditional()

    def check_fits(self, schema: "pa.Schema", value: str | None) -> tuple[str, ...]:
        """See `Publisher`. Each object has a schema of its own, so all columns fit."""
        # Asked for by name: listing the folders takes longer with each partition.
        folders = list(filter(self._store.has_files, ("_delta_log", *TABLE_FOLDERS)))
        check_no_other_table(self._store, folders)

        if "_delta_log" in folders:
            raise StorageError(
                "The output is a Delta table; one object a partition beside its files would be "
                "read twice.",
                self._store.url,
                expected="a folder without _delta_log",
                next_step="use output.format: delta, or another output.uri",
            )

        folder = encode_folder(self._key, value)
        check_own_files(self._store, folder, sealed_path(folder))

        return ()

    def live(self, value: str | None) -> Live | None:
        """See `Publisher`."""
        return self._live_at(sealed_path(encode_folder(self._key, value)))

    def all_live(self, values: Collection[str | None] | None = None) -> dict[str | None, Live]:
        """See `Publisher`. An index knows the run of each object that was looked at before."""

        def list_sealed() -> list[Entry]:
            if values is None:
                listed = self._store.list_files()
            else:
                folders = {encode_folder(self._key, value) for value in values}
                listed = self._store.list_below(folders)
            return list(filter(_is_sealed, listed))

        listing = Listing(list_sealed(), list_sealed, is_complete=values is None)
        live_by_path = recall(
            self._state, SEALED_INDEX, listing, lambda entry: self._live_at(entry.path), Live
        )
        return dict(zip(map(_value_of, live_by_path), live_by_path.values(), strict=True))

    def publish(
        self, publication: Publication, planned: Live | None
    ) -> tuple[tuple[WrittenPart, ...], int | None]:
        """See `Publisher`. The one part is the sealed object that `seal` wrote."""
        path = sealed_path(publication.folder)
        (part,) = publication.parts
        publication.check()

        try:
            self._store.replace(
                self._state.locate(part.file.path),
                path,
                planned.version if planned else None,
                {"nightscore-run-id": publication.run_id},
            )
        except (ConflictError, StorageUnavailableError) as error:
            self._check_published(publication, planned, error)

        publication.note_order()
        self._state.delete_tree(staging_folder(publication.run_id))
        published = part.file.model_copy(update={"path": path})

        return (WrittenPart(published, part.stats),), None

    def gone(self, live: Collection[Live]) -> set[str]:
        """See `Publisher`. An object that is gone is not live."""
        return set()

    def find_results(self, manifest: Manifest) -> tuple[WrittenPart, ...]:
        """See `Publisher`."""
        folder = encode_folder(manifest.partition_key, manifest.partition)
        (file,) = manifest.output.files
        return find_parts(self._state, {sealed_history_path(folder, manifest.result_id): file})

    def drop(self, manifest: Manifest) -> None:
        """See `Publisher`."""
        folder = encode_folder(manifest.partition_key, manifest.partition)
        self._state.delete([sealed_history_path(folder, manifest.run_id)])
        self._state.delete_tree(staging_folder(manifest.run_id))

    def list_written(self, listed: Sequence[Entry] | None = None) -> list[Entry]:
        """See `Publisher`."""
        if listed is None:
            return [*self._state.list_files("staging"), *self._state.list_files("sealed")]
        return [entry for entry in listed if entry.path.startswith(("staging/", "sealed/"))]

    def find_needed(
        self, live: Collection[Live], published: Mapping[str, Collection[str]]
    ) -> Callable[[str], bool]:
        """See `Publisher`. A published run needs its sealed object, but not its staging folder."""
        needed_runs = {*published, *(one.run_id for one in live)}
        return lambda path: not path.startswith("staging/") and run_id_of(path) in needed_runs

    def _live_at(self, path: str) -> Live | None:
        head = self._store.head(path)
        if head is None:
            return None

        try:
            metadata = read_facts(self._store, path).metadata
        except LocationNotFoundError:
            return None
        except CorruptFileError:
            metadata = {}  # not Parquet: somebody else's

        run_id = metadata.get(RUN_KEY.encode())
        return Live(run_id.decode() if run_id else None, (path,), head[0])

    def _check_published(
        self,
        publication: Publication,
        planned: Live | None,
        error: ConflictError | StorageUnavailableError,
    ) -> None:
        """Raise unless a replacement that seemed to fail has succeeded.

        It may have been applied and its answer lost. A repeated request then meets its own result.
        """
        path = sealed_path(publication.folder)
        current = self._live_at(path)
        if current is not None and current.run_id == publication.run_id:
            return

        if not isinstance(error, ConflictError):
            raise error

        absent = "no object, as when this run was planned"

        if current == planned:
            raise StorageUnavailableError(
                "The store refused to replace the partition's object, though nobody else has "
                "done so.",
                self._store.locate_url(path),
                expected="a replacement, since the object has the version that it had",
                found=current.version if current else absent,
                next_step="run again: nothing was published",
            ) from error

        raise ConflictError(
            "Another run published this partition meanwhile; this run published nothing.",
            self._store.locate_url(path),
            expected=describe_run(planned, absent),
            found=describe_run(current, "no object"),
            next_step="look at that run; run again with --force only if its predictions should be "
            "replaced",
        ) from error


def _is_sealed(entry: Entry) -> bool:
    """Whether it is the one object of a partition."""
    folder = entry.path.partition("/")[0]
    return entry.path == sealed_path(folder) and decode_folder(folder) is not None


def _value_of(path: str) -> str | None:
    """The partition of a sealed object."""
    decoded = decode_folder(path.partition("/")[0])
    assert decoded is not None  # noqa: S101
    return decoded[1]


def seal(
    job: ScoringJob, folder: str, run_id: str, parts: Sequence[WrittenPart], schema: "pa.Schema"
) -> WrittenPart:
    """One file with the rows of all staged parts in order, not visible yet. Runs in a worker."""
    state = state_store(job)
    path = sealed_history_path(folder, run_id)
    metadata = {RUN_KEY: run_id}

    parts = sorted(parts, key=lambda part: part.file.path)

    if (spliced := splice(state, parts, path, metadata)) is not None:
        return spliced

    with PartWriter(state, path, schema, keep_types=True, metadata=metadata) as writer:
        for table in read_tables(state, [part.file.path for part in parts], schema):
            writer.write(table)
        return writer.close()
