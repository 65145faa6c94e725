"""Removes files that nobody needs: each partition's while nothing else changes it, and by what is seen then."""

import logging
import posixpath
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nightscore.errors import LeaseError, StorageError
from nightscore.ledger.formats import format_of
from nightscore.ledger.layout import parts_store, predictions_store, run_id_of, state_store
from nightscore.ledger.lease import Lease
from nightscore.ledger.live import Live
from nightscore.ledger.liveness import DIED, has_died, mark_dead_runs, reconcile_with_live
from nightscore.ledger.manifests import (
    find_manifest,
    list_manifests,
    write_manifest,
)
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publisher
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import decode_folder, encode_folder
from nightscore.storage.protocol import Entry
from nightscore.storage.store import Store

LEAST_SUPERSEDED = timedelta(days=1)
"""Readers may have results open that were replaced: these stay for so long, whatever is asked for."""
WAIT_S = 1.0
"""For another command that changes a partition: what is left over there is left to the next time."""
AT_ONCE = 500
"""Files that are removed before it is asked again whether this command still holds the partition."""

log = logging.getLogger("nightscore")


@dataclass(frozen=True, slots=True)
class Files:
    """What was listed: of one partition, or of all."""

    written: tuple[Entry, ...]
    """By runs, for readers; below the store of their parts."""
    checkpoints: tuple[Entry, ...]
    monitoring: tuple[Entry, ...]
    """Profiles, comparisons and reports."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may go, of files that nobody has touched for long enough."""

    job: ScoringJob
    publisher: Publisher
    replaced_before: datetime | None
    """Results that others have replaced by then; None: they all stay."""

    def unneeded(
        self,
        files: Files,
        manifests: Sequence[Manifest],
        unreadable: Sequence[str],
        live: Collection[Live],
    ) -> Files:
        """Those of the files that nobody needs.

        Args:
            files: As they were listed, before the records were read: a run has its record before it has files.
            manifests: Of the partitions of the files.
            unreadable: Paths of records that cannot be read, which may be a published run's.
            live: What readers see of these partitions.
        """
        fates = mark_dead_runs(state_store(self.job), manifests)
        living = {m.run_id for m in fates if m.status in ("running", "prepared", "held")}
        protected_runs = {*living, *(run_id for path in unreadable if (run_id := run_id_of(path)))}
        known = {m.run_id for m in manifests if m.status in ("published", "rejected")}
        known |= {*protected_runs, *(one.run_id or "" for one in live)}
        published = self._kept_results(manifests)
        return Files(
            tuple(self.publisher.unneeded(files.written, live, published, protected_runs)),
            tuple(
                entry for entry in files.checkpoints if run_id_of(entry.path) not in protected_runs
            ),
            tuple(entry for entry in files.monitoring if run_id_of(entry.path) not in known),
        )

    def _kept_results(self, manifests: Sequence[Manifest]) -> dict[str, set[str]]:
        """The files of results that were published and stay, by the runs that wrote them."""
        since = replaced_at(manifests)
        kept: dict[str, set[str]] = {}
        for manifest in manifests:
            at, before = since.get(manifest.result_id), self.replaced_before
            if manifest.status == "published" and (before is None or at is None or at > before):
                kept.setdefault(manifest.result_id, set()).update(
                    file.path for file in manifest.output.files
                )
        return kept


def clean(
    job: ScoringJob,
    now: datetime,
    older_than: timedelta,
    superseded_after: timedelta | None = None,
    *,
    delete: bool,
    tell: Callable[[str], object] = log.warning,
) -> list[str]:
    """Files that nobody needs, last touched before `now - older_than`; removed if `delete`.

    A run that is listed as running is left alone while it may live, and a partition while another command changes it;
    what readers see is never touched.

    Args:
        job: Whose outputs.
        now: In UTC.
        older_than: Age guard.
        superseded_after: Also results that others replaced longer ago than this: a rollback cannot
            put them back then. Less than a day is taken as a day. None: they stay.
        delete: Else files are only listed.
        tell: Called with a sentence for each partition that was left alone.

    Raises:
        StorageError: Replaced results cannot be removed safely from this kind of store.
    """
    state = state_store(job)
    if delete and superseded_after is not None and not state.is_conditional:
        raise _unsafe(state)
    publisher = open_publisher(Workspace(job))
    replaced_before = (
        None if superseded_after is None else now - max(superseded_after, LEAST_SUPERSEDED)
    )
    rules = Rules(job, publisher, replaced_before)
    oldest_s = (now - older_than).timestamp()

    # In this order: whoever has begun meanwhile has a record, and whoever has published is seen.
    files = _list(job, publisher, oldest_s)
    leases = [entry for entry in state.list_files("leases") if entry.modified_s < oldest_s]
    manifests, unreadable = list_manifests(state)
    found = rules.unneeded(files, manifests, unreadable, publisher.all_live().values())
    if not delete:
        return _show(job, found) + _clean_spools(job, oldest_s, delete=False)

    by_folder = _by_folder(found, manifests)
    for folder in [_folder(m) for m in _dead(state, manifests)] + [
        posixpath.basename(entry.path) for entry in leases
    ]:
        by_folder.setdefault(folder, Files((), (), ()))
    shown = []
    for folder, some in sorted(by_folder.items()):
        try:
            shown += _show(job, _clean_partition(rules, folder, some))
        except LeaseError as error:
            tell(f"{folder} was left alone: {error.found}")
    return shown + _clean_spools(job, oldest_s, delete=True)


def replaced_at(manifests: Sequence[Manifest]) -> dict[str, datetime | None]:
    """When results that were published were replaced, for the last time, by the runs that wrote them.

    None: by the records nothing has replaced them, or not since they were put back.
    """
    ended = [m for m in manifests if m.status == "published" and m.finished_at is not None]
    found: dict[str, datetime | None] = {}
    latest: dict[str | None, str] = {}
    for manifest in sorted(ended, key=lambda m: (m.finished_at or m.started_at, m.run_id)):
        before = latest.get(manifest.partition)
        # By time, and by what the run says itself: hosts' clocks differ.
        for replaced in {before, manifest.replaces} - {None, manifest.result_id}:
            found[str(replaced)] = manifest.finished_at
        found[manifest.result_id] = None
        latest[manifest.partition] = manifest.result_id
    return found


def _list(job: ScoringJob, publisher: Publisher, oldest_s: float) -> Files:
    state = state_store(job)
    monitoring = [
        entry
        for kind in ("profiles", "drift", "comparisons", "reports")
        for entry in state.list_files(kind)
    ]
    listed = (publisher.list_written(), state.list_files("checkpoints"), monitoring)
    return Files(
        *(tuple(entry for entry in entries if entry.modified_s < oldest_s) for entries in listed)
    )


def _by_folder(files: Files, manifests: Sequence[Manifest]) -> dict[str, Files]:
    """The files of each partition; those of runs that have no record, and no folder in their path, under ''."""
    folders = {manifest.run_id: _folder(manifest) for manifest in manifests}
    grouped: dict[str, tuple[list[Entry], list[Entry], list[Entry]]] = {}
    for i, entries in enumerate((files.written, files.checkpoints, files.monitoring)):
        for entry in entries:
            named = next((name for name in entry.path.split("/")[:-1] if decode_folder(name)), "")
            folder = named or folders.get(run_id_of(entry.path) or "", "")
            grouped.setdefault(folder, ([], [], []))[i].append(entry)
    return {folder: Files(*map(tuple, lists)) for folder, lists in grouped.items()}


def _folder(manifest: Manifest) -> str:
    return encode_folder(manifest.partition_key, manifest.partition)


def _dead(state: Store, manifests: Sequence[Manifest]) -> list[Manifest]:
    """Runs that have died without a word, and nobody has written so."""
    open_ended = [manifest for manifest in manifests if manifest.status in ("running", "prepared")]
    return [manifest for manifest in mark_dead_runs(state, open_ended) if has_died(manifest)]


def _clean_partition(rules: Rules, folder: str, files: Files) -> Files:
    """Remove what is still not needed once nobody else changes the partition.

    Raises:
        LeaseError: Another command does.
    """
    job, state = rules.job, state_store(rules.job)
    decoded = decode_folder(folder)
    if decoded is None:  # of no run that has a record, and nothing that readers see
        _delete(parts_store(job), files.written, None)
        _delete(state, files.checkpoints, None)
        return files
    lease = Lease(job, folder, "clean")
    lease.acquire(WAIT_S)
    try:
        manifests, unreadable = list_manifests(state, folder)
        live = rules.publisher.live(decoded[1])
        found = rules.unneeded(files, manifests, unreadable, [live] if live else [])
        for manifest in _dead(state, manifests):
            lease.check()
            _bury(job, manifest, live)
        # Last the checkpoints, and of these the claims: without them nobody goes on with what is gone.
        for store, entries in (
            (parts_store(job), found.written),
            (state, found.monitoring + found.checkpoints),
        ):
            _delete(store, entries, lease)
        return found
    finally:
        lease.release()


def _delete(store: Store, entries: Sequence[Entry], lease: Lease | None) -> None:
    for start in range(0, len(entries), AT_ONCE):
        if lease is not None:
            lease.check()
        store.delete([entry.path for entry in entries[start : start + AT_ONCE]])


def _bury(job: ScoringJob, dead: Manifest, live: Live | None) -> None:
    """Write that a run has died, so that one which has slept only stops when it awakes."""
    store, folder = state_store(job), _folder(dead)
    now = find_manifest(store, folder, dead.run_id)
    if now is None or now.status not in ("running", "prepared"):
        return  # it has spoken since
    ended = now.model_copy(update={"status": "failed", "error": DIED})
    seen = reconcile_with_live(store, ended, live)
    write_manifest(
        store,
        folder,
        seen.model_copy(update={"finished_at": seen.finished_at or datetime.now(UTC)}),
    )


def _clean_spools(job: ScoringJob, oldest_s: float, *, delete: bool) -> list[str]:
    shown = []
    for store in (predictions_store(job), state_store(job)):
        spools = [entry.path for entry in store.list_spools() if entry.modified_s < oldest_s]
        if delete:
            store.delete(spools)
        shown += [store.locate_url(path) for path in spools]
    return shown


def _show(job: ScoringJob, files: Files) -> list[str]:
    root = f"{job.output.uri}/" if format_of(job).writes_in_place else ""
    written = [f"{root}{entry.path}" for entry in files.written]
    return written + [entry.path for entry in (*files.checkpoints, *files.monitoring)]


def _unsafe(state: Store) -> StorageError:
    return StorageError(
        "Replaced results cannot be removed from this kind of store while other commands may put them back.",
        state.url,
        expected="a disk, or S3: a store that refuses to create what exists",
        found=f"{state.scheme}://",
        next_step="leave --superseded-days out: what dead runs left is removed all the same",
    )
