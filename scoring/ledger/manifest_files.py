"""Writes and reads the records of runs, one JSON file each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nightscore.errors import LocationNotFoundError
from nightscore.ledger.layout import manifest_path, run_id_of
from nightscore.schemas.manifest import Manifest, read_record
from nightscore.storage.protocol import Entry
from nightscore.storage.run_cache import RunCache
from nightscore.storage.store import Store

T = TypeVar("T")
R = TypeVar("R")

READ_THREADS = 16
FEW = 8
"""Up to so many records are read from a disk before another thread would have started."""
PARSED_BYTES = 6
"""Bytes in memory for each byte of a record."""


def write_manifest(store: Store, folder: str, manifest: Manifest) -> Manifest:
    """Write or replace the record of a run. Returns it with its location."""
    path = manifest_path(folder, manifest.run_id)
    located = manifest.model_copy(update={"location": store.locate_url(path)})
    store.write_bytes(path, located.model_dump_json(indent=2).encode())
    return located


def find_manifest(store: Store, folder: str, run_id: str) -> Manifest | None:
    """The record of one run, read now. None if there is none that can be read."""
    return _read_path(store, manifest_path(folder, run_id))


def list_manifests(store: Store, folder: str | None = None) -> tuple[list[Manifest], list[str]]:
    """The records of a partition, or of all partitions.

    Returns:
        The records, newest run first, and the paths of those that cannot be read.
    """
    entries = store.list_files(f"runs/{folder}" if folder else "runs")
    return read_manifests(store, [entry.path for entry in entries if run_id_of(entry.path)])


def read_manifests(store: Store, paths: Sequence[str]) -> tuple[list[Manifest], list[str]]:
    """The records at the paths, newest run first, and the paths of those that cannot be read."""
    records = map_records(store, lambda path: _read_path(store, path), paths)

    readable = [record for record in records if record is not None]
    readable.sort(key=lambda record: record.run_id, reverse=True)
    unreadable = [path for path, record in zip(paths, records, strict=True) if record is None]
    return readable, unreadable


def read_listed(store: Store, entry: Entry, run_cache: RunCache) -> Manifest | None:
    """A record of a listing. None if it cannot be read.

    A published run's record is final, so it is cached under the version in the listing.
    """
    key = ("manifest", store.url, entry.path, entry.version, entry.size_bytes)
    cached = run_cache.get(key, Manifest)
    if cached is not None:
        return cached

    try:
        content = store.read_bytes(entry.path)
        record = read_record(content, Manifest)
    except (LocationNotFoundError, ValueError):
        return None

    if record.status == "published":
        run_cache.put(key, record, PARSED_BYTES * len(content))

    return record


def map_records(store: Store, read: Callable[[T], R], places: Sequence[T]) -> list[R]:
    """The results of reading several records, at once where the store's answers take long."""
    if len(places) <= (FEW if store.is_local else 1):
        return [read(place) for place in places]
    with ThreadPoolExecutor(READ_THREADS) as threads:
        return list(threads.map(read, places))


def _read_path(store: Store, path: str) -> Manifest | None:
    try:
        return read_record(store.read_bytes(path), Manifest)
    except (LocationNotFoundError, ValueError):
        return None
