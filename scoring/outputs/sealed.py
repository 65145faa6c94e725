"""Publishes one Parquet object a partition, for consumers that only glob."""

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from nightscore.arrow.parsing.files import read_facts
from nightscore.errors import (
    ConflictError,
    CorruptFileError,
    LocationNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.ledger.layout import (
    run_id_of,
    sealed_history_path,
    sealed_path,
    staging_folder,
    state_store,
)
from nightscore.ledger.live import Live
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.foreign import check_no_other_table, check_own_files
from nightscore.outputs.merge import read_tables
from nightscore.outputs.publisher import Publication
from nightscore.outputs.splice import splice
from nightscore.outputs.writer import PartWriter, WrittenPart, find_parts
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import decode_folder, encode_folder
from nightscore.storage.protocol import Entry

RUN_KEY = "nightscore.run_id"


class SealedPublisher:
    """See `Publisher`. The object's own footer says which run wrote it."""

    def __init__(self, workspace: Workspace) -> None:
        self._job = workspace.job
        self._store = workspace.predictions
        self._state = workspace.state

    def check(self) -> None:
        """See `Publisher`."""
        self._state.check_conditional()

    def check_fits(self, schema: pa.Schema, value: str | None) -> tuple[str, ...]:
        """See `Publisher`. Each object has a schema of its own."""
        folders = self._store.list_folders()
        check_no_other_table(self._store, folders)
        if "_delta_log" in folders:
            raise StorageError(
                "The output is a Delta table; one object a partition beside its files would be read twice.",
                self._store.url,
                expected="a folder without _delta_log",
                next_step="use output.format: delta, or another output.uri",
            )
        folder = encode_folder(self._job.input.partition_key, value)
        check_own_files(self._store, folder, sealed_path(folder))
        return ()

    def live(self, value: str | None) -> Live | None:
        """See `Publisher`."""
        return self._live_at(sealed_path(encode_folder(self._job.input.partition_key, value)))

    def all_live(self) -> dict[str | None, Live]:
        """See `Publisher`."""
        found: dict[str | None, Live] = {}
        for folder in self._store.list_folders():
            decoded = decode_folder(folder)
            live = self._live_at(sealed_path(folder)) if decoded else None
            if decoded and live:
                found[decoded[1]] = live
        return found

    def publish(
        self, publication: Publication, planned: Live | None
    ) -> tuple[tuple[WrittenPart, ...], int | None]:
        """See `Publisher`. Its one part is the sealed object that `seal` wrote."""
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
            current = self._live_at(path)
            # The request may have been applied and its answer lost; a repeated one then meets its own result.
            if current is None or current.run_id != publication.run_id:
                if not isinstance(error, ConflictError):
                    raise
                if current == planned:
                    raise StorageUnavailableError(
                        "The store refused to replace the partition's object, though nobody else has done so.",
                        self._store.locate_url(path),
                        expected="a replacement, since the object has the version that it had",
                        found=current.version
                        if current
                        else "no object, as when this run was planned",
                        next_step="run again: nothing was published",
                    ) from error
                raise ConflictError(
                    "Another run published this partition meanwhile; this run published nothing.",
                    self._store.locate_url(path),
                    expected=f"run {planned.run_id}"
                    if planned
                    else "no object, as when this run was planned",
                    found=f"run {current.run_id}" if current else "no object",
                    next_step="look at that run; run again with --force only if its predictions should be replaced",
                ) from error
        self._state.delete_tree(staging_folder(publication.run_id))
        placed = part.file.model_copy(update={"path": path})
        return (WrittenPart(placed, part.stats),), None

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

    def list_written(self) -> list[Entry]:
        """See `Publisher`."""
        return [*self._state.list_files("staging"), *self._state.list_files("sealed")]

    def unneeded(
        self,
        written: Sequence[Entry],
        live: Collection[Live],
        published: Mapping[str, Collection[str]],
        kept_runs: Collection[str],
    ) -> list[Entry]:
        """See `Publisher`. A published run needs its staging folder no more, its sealed object it does."""
        seen = {one.run_id for one in live}
        return [
            entry
            for entry in written
            if (run_id := run_id_of(entry.path)) not in kept_runs
            and (entry.path.startswith("staging/") or run_id not in {*published, *seen})
        ]

    def _live_at(self, path: str) -> Live | None:
        head = self._store.head(path)
        if head is None:
            return None
        try:
            stored = read_facts(self._store, path).metadata
        except LocationNotFoundError:
            return None
        except CorruptFileError:
            stored = {}  # no Parquet: somebody else's
        run = stored.get(RUN_KEY.encode())
        return Live(run.decode() if run else None, (path,), head[0])


def seal(
    job: ScoringJob, folder: str, run_id: str, parts: Sequence[WrittenPart], schema: pa.Schema
) -> WrittenPart:
    """One file with the rows of all staged parts in order, not visible yet. Runs in a worker."""
    state = state_store(job)
    path = sealed_history_path(folder, run_id)
    parts = sorted(parts, key=lambda part: part.file.path)
    if (spliced := splice(state, parts, path, {RUN_KEY: run_id})) is not None:
        return spliced
    with PartWriter(state, path, schema, keep_types=True, metadata={RUN_KEY: run_id}) as writer:
        for table in read_tables(state, [part.file.path for part in parts], schema):
            writer.write(table)
        return writer.close()
