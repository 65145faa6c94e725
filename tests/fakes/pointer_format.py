"""An output format of the tests' own: parts in place, and a small file that says which are live.

Nothing in nightscore knows it. It shows what a new format takes.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence

import pyarrow as pa

from nightscore.errors import ConflictError, StorageError
from nightscore.ledger.layout import run_id_of
from nightscore.ledger.live import Live
from nightscore.ledger.output_formats import OutputFormat
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publisher import Publication
from nightscore.outputs.writer import WrittenPart, find_parts
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import decode_folder, encode_folder
from nightscore.storage.protocol import Entry

POINTER = "current.json"


class PointerPublisher:
    """See `Publisher`."""

    def __init__(self, workspace: Workspace) -> None:
        self._key = workspace.job.input.partition_key
        self._store = workspace.predictions

    def check(self) -> None:
        self._store.check_exclusive()

    def check_fits(self, schema: pa.Schema, value: str | None) -> tuple[str, ...]:
        if self._store.exists("_delta_log"):
            raise StorageError("The output is a Delta table.", self._store.url)
        return ()

    def live(self, value: str | None) -> Live | None:
        return self._read(encode_folder(self._key, value))

    def all_live(self, values: Collection[str | None] | None = None) -> dict[str | None, Live]:
        live_by_value = {}
        for folder in self._store.list_folders():
            decoded, live = decode_folder(folder), self._read(folder)
            if decoded and live and (values is None or decoded[1] in values):
                live_by_value[decoded[1]] = live
        return live_by_value

    def publish(
        self, publication: Publication, planned: Live | None
    ) -> tuple[tuple[WrittenPart, ...], int | None]:
        paths = tuple(sorted(part.file.path for part in publication.parts))
        content, pointer = _encode(publication.run_id, paths), f"{publication.folder}/{POINTER}"
        publication.check()
        try:
            if planned is None:
                self._store.create(pointer, content)
            else:
                self._store.swap(pointer, planned.version.encode(), content)
        except ConflictError as error:
            current = self._read(publication.folder)
            if current is not None and set(current.paths) == set(paths):
                return publication.parts, None
            raise ConflictError(
                "Another run published this partition meanwhile.",
                found=f"run {current.run_id}" if current else "no predictions",
            ) from error
        return publication.parts, None

    def gone(self, live: Collection[Live]) -> set[str]:
        return set()

    def find_results(self, manifest: Manifest) -> tuple[WrittenPart, ...]:
        return find_parts(self._store, {file.path: file for file in manifest.output.files})

    def drop(self, manifest: Manifest) -> None:
        self._store.delete([file.path for file in manifest.output.files])

    def list_written(self, listed: Sequence[Entry] | None = None) -> list[Entry]:
        entries = self._store.list_files() if listed is None else listed
        return [entry for entry in entries if run_id_of(entry.path)]

    def find_needed(
        self, live: Collection[Live], published: Mapping[str, Collection[str]]
    ) -> Callable[[str], bool]:
        needed = {path for one in live for path in one.paths}
        needed |= {path for paths in published.values() for path in paths}
        return needed.__contains__

    def _read(self, folder: str) -> Live | None:
        pointer = f"{folder}/{POINTER}"
        if not self._store.exists(pointer):
            return None
        content = self._store.read_bytes(pointer)
        current = json.loads(content)
        return Live(current["run_id"], tuple(current["paths"]), content.decode())


def _encode(run_id: str, paths: Sequence[str]) -> bytes:
    return json.dumps({"run_id": run_id, "paths": list(paths)}).encode()


FORMAT = OutputFormat(
    name="pointer",
    title="a folder with a pointer",
    requirement="Pointers need conditional writes",
    is_supported=lambda able: able.can_create and able.can_replace,
    writes_in_place=True,
    stores_arrow_schema=True,
    ignores_case=False,
    driver_bytes=0,
    storage_type=lambda arrow_type: arrow_type,
    open_publisher=PointerPublisher,
)
