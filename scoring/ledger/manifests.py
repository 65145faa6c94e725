"""Writes and reads the records of runs, one JSON file each."""

import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from nightscore.errors import LocationNotFoundError, ScoringError
from nightscore.ledger.layout import run_id_of
from nightscore.process import is_running
from nightscore.schemas.manifest import ErrorRecord, Manifest, read_manifest
from nightscore.schemas.partition import decode_folder, encode_folder, order_of
from nightscore.storage.protocol import Entry
from nightscore.storage.run_cache import RunCache
from nightscore.storage.store import Store

READ_THREADS = 16
FEW = 8
"""Records on a disk that are read before another thread has started."""
PARSED = 6
"""Bytes in memory for each one of a record."""
LAPSE_S = 120.0
"""Silence after which a run of another host counts as dead: six times the seconds between its signs of life."""
DIED = ErrorRecord(
    type="WorkerError", message="the run's process died without a word", retryable=True
)


def manifest_path(folder: str, run_id: str) -> str:
    """Below the state folder."""
    return f"runs/{folder}/{run_id}.json"


def write_manifest(store: Store, folder: str, manifest: Manifest) -> Manifest:
    """Write or replace a run's record; returns it with its location."""
    path = manifest_path(folder, manifest.run_id)
    located = manifest.model_copy(update={"location": store.locate_url(path)})
    store.write_bytes(path, located.model_dump_json(indent=2).encode())
    return located


def find_manifest(store: Store, folder: str, run_id: str) -> Manifest | None:
    """One run's record, or None if there is none that can be read."""
    try:
        return read_manifest(store.read_bytes(manifest_path(folder, run_id)))
    except (LocationNotFoundError, ValueError):
        return None


def list_manifests(store: Store, folder: str | None = None) -> tuple[list[Manifest], list[str]]:
    """The records of a partition or of all, newest run first, and the paths of those that cannot be read."""
    entries = store.list_files(f"runs/{folder}" if folder else "runs")
    return read_manifests(store, [entry.path for entry in entries if run_id_of(entry.path)])


def read_manifests(store: Store, paths: Sequence[str]) -> tuple[list[Manifest], list[str]]:
    """The records at the paths, newest run first, and the paths of those that cannot be read."""

    def attempt(path: str) -> Manifest | str:
        try:
            return read_manifest(store.read_bytes(path))
        except (LocationNotFoundError, ValueError):
            return path

    if len(paths) <= (FEW if store.is_local else 1):
        found = [attempt(path) for path in paths]
    else:
        with ThreadPoolExecutor(READ_THREADS) as threads:
            found = list(threads.map(attempt, paths))
    manifests = sorted(
        (m for m in found if isinstance(m, Manifest)), key=lambda m: m.run_id, reverse=True
    )
    return manifests, [path for path in found if isinstance(path, str)]


def standing_manifest(
    store: Store, folder: str, live_run_id: str, run_cache: RunCache | None = None
) -> Manifest | None:
    """What stands behind a partition's live files: the rollback that put them back, else the run that wrote them.

    None if there is no record that can be read.
    """
    entries = _runs_of(store, folder)
    later = list(_read_newest(store, entries, run_cache, after=live_run_id))
    committed = (
        "published",
        "prepared",
        "running",
    )  # of a rollback: it is seen, so that it came to its commit
    restoring = with_fates(store, [m for m in later if m.restores == live_run_id])
    rollbacks = [m for m in restoring if m.status in committed or m.error == DIED]
    return rollbacks[0] if rollbacks else _read_run(store, entries, live_run_id, run_cache)


def as_seen(
    store: Store, manifest: Manifest, live_run_id: str | None, paths: Sequence[str]
) -> Manifest:
    """The record; as published where its process died between the commit and its last word, or never heard of it.

    Args:
        store: The state folder.
        manifest: With its fate.
        live_run_id: The run whose files readers see of the partition.
        paths: Of these files.
    """
    is_own = manifest.run_id == live_run_id and manifest.status in ("failed", "held")
    if manifest.result_id != live_run_id or not (is_own or manifest.error == DIED):
        return manifest
    folder = encode_folder(manifest.partition_key, manifest.partition)
    known = manifest if manifest.output.files else find_manifest(store, folder, manifest.result_id)
    files = known.output.files if known else ()
    if (
        len(files) == len(paths) == 1
    ):  # a sealed object has another place now than when it was sealed
        files = (files[0].model_copy(update={"path": paths[0]}),)
    spoke = datetime.fromtimestamp(
        store.describe(manifest_path(folder, manifest.run_id)).modified_s, UTC
    )
    output = manifest.output.model_copy(update={"files": files})
    seen = {
        "status": "published",
        "error": None,
        "output": output,
        "finished_at": manifest.finished_at or spoke,
    }
    return manifest.model_copy(update=seen)


def complete_record(
    store: Store,
    folder: str,
    live_run_id: str | None,
    paths: Sequence[str],
    run_cache: RunCache | None = None,
) -> Manifest | None:
    """What stands behind a partition's live files; where that died before its last word, the word is written.

    Asked before others take its place: the history is told by records.
    """
    found = standing_manifest(store, folder, live_run_id, run_cache) if live_run_id else None
    if found is None or found.status == "published":
        return found
    seen = as_seen(store, with_fates(store, [found])[0], live_run_id, paths)
    return write_manifest(store, folder, seen) if seen.status == "published" else seen


def newest_manifest(
    store: Store, folder: str, run_cache: RunCache | None = None
) -> Manifest | None:
    """The record of a partition's newest run, or None if there is none that can be read."""
    entries = _runs_of(store, folder)
    return _read(store, entries[0], run_cache) if entries else None


def publication(
    store: Store, key: str, value: str | None, *, or_held: bool = False
) -> Manifest | None:
    """The run whose results a partition has by its records: after a rollback, the one that it has put back.

    Args:
        store: Of the records.
        key: The partition key.
        value: Of the partition.
        or_held: Also a run that waits for a decision.
    """
    published, waiting = latest_results(store, key, value)
    return waiting if or_held else published


def latest_results(
    store: Store, key: str, value: str | None, run_cache: RunCache | None = None
) -> tuple[Manifest | None, Manifest | None]:
    """The `publication` of a partition: without runs that wait for a decision, and with them."""
    entries = _runs_of(store, encode_folder(key, value))
    held: Manifest | None = None
    for manifest in _read_newest(store, entries, run_cache):
        if manifest.status == "published":
            restored = manifest.restores
            found = manifest if restored is None else _read_run(store, entries, restored, run_cache)
            return found, held or found
        if manifest.status == "held" and held is None:
            held = manifest
    return None, held


def _runs_of(store: Store, folder: str) -> list[Entry]:
    """Where the records of a partition are, newest run first."""
    entries = [entry for entry in store.list_files(f"runs/{folder}") if run_id_of(entry.path)]
    return sorted(entries, key=lambda entry: run_id_of(entry.path) or "", reverse=True)


def _read_newest(
    store: Store, entries: Sequence[Entry], run_cache: RunCache | None, after: str = ""
) -> Iterator[Manifest]:
    """Those records of a listing that can be read, as they are asked for, down to the runs after a given one."""
    for entry in entries:
        if (run_id_of(entry.path) or "") <= after:
            return
        if (manifest := _read(store, entry, run_cache)) is not None:
            yield manifest


def _read_run(
    store: Store, entries: Sequence[Entry], run_id: str, run_cache: RunCache | None
) -> Manifest | None:
    entry = next((entry for entry in entries if run_id_of(entry.path) == run_id), None)
    return None if entry is None else _read(store, entry, run_cache)


def _read(store: Store, entry: Entry, run_cache: RunCache | None) -> Manifest | None:
    """A record of a listing; None: it cannot be read. Kept is that of a run which is published: nothing follows."""
    key = ("manifest", store.url, entry.path, entry.version, entry.size_bytes)
    found = None if run_cache is None else run_cache.get(key, Manifest)
    if found is not None:
        return found
    try:
        content = store.read_bytes(entry.path)
        found = read_manifest(content)
    except (LocationNotFoundError, ValueError):
        return None
    if run_cache is not None and found.status == "published":
        run_cache.put(key, found, PARSED * len(content))
    return found


def recorded_values(store: Store, pattern: str) -> list[str]:
    """The partitions that have records, in their order; without Hive's default partition, which has no place in it.

    Args:
        store: Of the records.
        pattern: The job's partition format.
    """
    values = [
        decoded[1] for folder in store.list_folders("runs") if (decoded := decode_folder(folder))
    ]
    return sorted((v for v in values if v is not None), key=lambda v: order_of(v, pattern))


def earlier_values(store: Store, value: str | None, pattern: str) -> list[str]:
    """The partitions before this one that have records, nearest first; none before Hive's default partition."""
    if value is None:
        return []
    own = order_of(value, pattern)
    return [v for v in reversed(recorded_values(store, pattern)) if order_of(v, pattern) < own]


def latest_publications(
    store: Store, key: str, pattern: str, *, or_held: bool = False
) -> Iterator[Manifest]:
    """The latest publication of each partition, the last partition first; read as they are asked for."""
    for value in reversed(recorded_values(store, pattern)):
        if (found := publication(store, key, value, or_held=or_held)) is not None:
            yield found


def earlier_publications(
    store: Store, key: str, value: str | None, pattern: str, *, or_held: bool = False
) -> Iterator[Manifest]:
    """The latest publication of each partition before this one that has any, nearest first; read as they are asked
    for."""
    for before in earlier_values(store, value, pattern):
        if (found := publication(store, key, before, or_held=or_held)) is not None:
            yield found


def undecided(manifests: Sequence[Manifest], fingerprint: str) -> Manifest | None:
    """The run over the same work that a gate held or a person rejected, unless a later one was published.

    Args:
        manifests: Of the partition, newest run first.
        fingerprint: Of the work.
    """
    ended = ("published", "held", "rejected")
    for manifest in manifests:
        is_other = manifest.replays or manifest.restores or manifest.fingerprint != fingerprint
        if not is_other and manifest.status in ended:
            return None if manifest.status == "published" else manifest
    return None


def with_fates(store: Store, manifests: Sequence[Manifest]) -> list[Manifest]:
    """The manifests, those of runs that died as failed.

    A run is dead when its process is gone, which only its own host can tell, or when it has given no sign of life
    for `LAPSE_S` by the store's own clock.
    """
    clock: list[float] = []

    def lapsed(manifest: Manifest) -> bool:
        path = manifest_path(
            encode_folder(manifest.partition_key, manifest.partition), manifest.run_id
        )
        try:
            clock[:] = clock or [store.clock_s()]
            return clock[0] - store.describe(path).modified_s > LAPSE_S
        except ScoringError:
            return False  # a store that cannot be written to, or does not answer: nobody may take it over

    def fate(manifest: Manifest) -> Manifest:
        if manifest.status not in ("running", "prepared"):
            return manifest
        is_here = manifest.host == socket.gethostname()
        is_dead = (is_here and not is_running(manifest.pid)) or lapsed(manifest)
        return (
            manifest.model_copy(update={"status": "failed", "error": DIED}) if is_dead else manifest
        )

    return [fate(manifest) for manifest in manifests]
