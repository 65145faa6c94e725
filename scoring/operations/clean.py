"""Removes files that nobody needs, while no other command changes their partition."""

import logging
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nightscore.errors import LeaseError, StorageError
from nightscore.ledger.job_history import JobHistory
from nightscore.ledger.layout import parts_store, run_id_of, state_store
from nightscore.ledger.lease import Lease
from nightscore.ledger.live import Live
from nightscore.ledger.liveness import DIED, has_died, mark_dead_runs, reconcile_with_live
from nightscore.ledger.manifest_files import (
    find_manifest,
    list_manifests,
    write_manifest,
)
from nightscore.ledger.output_formats import format_of
from nightscore.ledger.run_summaries import UNDER_WAY, summarize
from nightscore.ledger.workspace import Workspace
from nightscore.outputs.publish import open_publisher
from nightscore.outputs.publisher import Publisher, find_unneeded
from nightscore.process import rare_collection
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import decode_folder, encode_folder
from nightscore.schemas.run_summary import RunSummary, digest_paths
from nightscore.storage.protocol import Entry
from nightscore.storage.store import Store

LEAST_SUPERSEDED = timedelta(days=1)
"""Readers may still have replaced results open, so these stay at least this long."""
WAIT_S = 1.0
"""How long to wait for another command that changes a partition. After that the partition is
skipped."""
AT_ONCE = 500
"""Files to remove before checking again that this command still holds the lease."""

MONITORING = (
    "profiles",
    "drift",
    "comparisons",
    "differences",
    "evaluations",
    "performance",
    "reports",
)
"""Folders of the state whose files stay with the run that they are of."""

log = logging.getLogger("nightscore")


@dataclass(frozen=True, slots=True)
class Files:
    """Listed files of one partition, or of all."""

    written: tuple[Entry, ...]
    """Written by runs for readers, in the store of their parts."""
    checkpoints: tuple[Entry, ...]
    monitoring: tuple[Entry, ...]
    """Profiles, comparisons, differences, evaluations and reports."""
    samples: tuple[Entry, ...] = ()
    """Samples of rows, of partitions and of baselines."""


NO_FILES = Files((), (), ())


@dataclass(frozen=True, slots=True)
class Rules:
    """Which of the files that nobody has touched for long enough may go."""

    job: ScoringJob
    publisher: Publisher
    replaced_before: datetime | None
    """Results replaced before this time may go; None: they all stay."""

    def unneeded(
        self,
        files: Files,
        runs: Sequence[RunSummary],
        unreadable: Sequence[str],
        live: Collection[Live],
    ) -> Files:
        """The files that nobody needs.

        Args:
            files: Listed before the records were read: a run has its record before it has files.
            runs: Records of the partitions of the files.
            unreadable: Paths of records that cannot be read, perhaps of a published run.
            live: What readers see of these partitions.
        """
        protected = self._protected_runs(runs, unreadable)
        reported = protected | {result.run_id or "" for result in live}

        for run in runs:
            if run.status in ("published", "rejected"):
                reported.add(run.run_id)

        published = {run.run_id for run in runs if run.status == "published"}
        results = _Results(self.job, self._results_to_keep(runs), files.written)

        return Files(
            tuple(find_unneeded(self.publisher, files.written, live, results, protected)),
            _without_runs(files.checkpoints, protected),
            _without_runs(files.monitoring, reported),
            _of_unpublished_runs(files.samples, protected | published),
        )

    def _protected_runs(self, runs: Sequence[RunSummary], unreadable: Sequence[str]) -> set[str]:
        """Runs that may go on or be published. Of an unreadable record nobody knows."""
        protected = {run.run_id for run in runs if run.status in ("held", *UNDER_WAY)}
        protected -= {manifest.run_id for manifest in _dead(state_store(self.job), runs)}

        for path in unreadable:
            run_id = run_id_of(path)
            if run_id:
                protected.add(run_id)

        return protected

    def _results_to_keep(self, runs: Sequence[RunSummary]) -> dict[str, list[RunSummary]]:
        """The publications whose results stay, by the run that wrote them."""
        replaced = replaced_at(runs)
        kept: dict[str, list[RunSummary]] = {}

        for run in runs:
            if run.status == "published" and self._stays(replaced.get(run.result_id)):
                kept.setdefault(run.result_id, []).append(run)

        return kept

    def _stays(self, replaced: datetime | None) -> bool:
        """Whether a result stays that was replaced at a time; None: that was not replaced."""
        if self.replaced_before is None or replaced is None:
            return True

        return replaced > self.replaced_before


class _Results(Mapping[str, Collection[str]]):
    """The files of results that stay, by the run that wrote them.

    A record is read only if the run's listed files are not those that it has written.
    """

    def __init__(
        self, job: ScoringJob, kept: Mapping[str, Sequence[RunSummary]], written: Sequence[Entry]
    ) -> None:
        """Read nothing yet.

        Args:
            job: Whose outputs.
            kept: The publications of each run's results.
            written: Files of runs, as they are listed.
        """
        self._state = state_store(job)
        self._kept = kept
        self._listed: dict[str, set[str]] = {}
        for entry in written:
            self._listed.setdefault(run_id_of(entry.path) or "", set()).add(entry.path)
        self._paths: dict[str, set[str]] = {}

    def __getitem__(self, run_id: str) -> Collection[str]:
        """The files of one run's results."""
        if run_id not in self._paths:
            publications = self._kept[run_id]
            self._paths[run_id] = set().union(*map(self._files, publications))
        return self._paths[run_id]

    def __iter__(self) -> Iterator[str]:
        """The runs whose results stay."""
        return iter(self._kept)

    def __len__(self) -> int:
        """Number of runs whose results stay."""
        return len(self._kept)

    def _files(self, publication: RunSummary) -> set[str]:
        listed = self._listed.get(publication.result_id, set())
        if digest_paths(listed) == publication.outputs:
            return listed

        record = find_manifest(self._state, _folder(publication), publication.run_id)
        if record is None:
            return listed  # it cannot be read any more: its files stay
        return {file.path for file in record.output.files}


@rare_collection()
def clean(
    job: ScoringJob,
    now: datetime,
    older_than: timedelta,
    superseded_after: timedelta | None = None,
    *,
    delete: bool,
    tell: Callable[[str], object] = log.warning,
) -> list[str]:
    """List files that nobody needs and nobody touched for `older_than`; remove them if `delete`.

    It skips runs that may still be alive, and partitions that another command is changing. It never
    touches what readers see.

    Args:
        job: Whose outputs.
        now: In UTC.
        older_than: Minimum age of a file.
        superseded_after: Also remove results that were replaced longer ago than this; a rollback
            cannot restore them afterwards. Less than a day counts as a day. None: they stay.
        delete: Remove the files; otherwise only list them.
        tell: Called with a sentence for each partition that was skipped.

    Raises:
        StorageError: Replaced results cannot be removed safely from this kind of store.
    """
    state = state_store(job)
    if delete and superseded_after is not None and not state.is_conditional:
        raise _unsafe(state)

    workspace = Workspace(job)
    publisher = open_publisher(workspace)
    rules = Rules(job, publisher, _replaced_before(now, superseded_after))
    oldest_s = (now - older_than).timestamp()

    # In this order: whoever has begun meanwhile has a record, and whoever has published is seen.
    # Records that cannot be read protect files too.
    everything = _list(workspace, publisher, oldest_s)
    files = everything.files
    history = JobHistory(workspace)
    runs, unreadable = history.summaries(), history.unreadable()
    unneeded = rules.unneeded(files, runs, unreadable, publisher.all_live().values())

    if not delete:
        return _show(job, unneeded) + _clean_spools(everything, delete=False)

    # Partitions without files may still have dead runs to record, or leases that nobody holds.
    by_folder = _by_folder(unneeded, runs)
    for manifest in _dead(state, runs):
        by_folder.setdefault(_folder(manifest), NO_FILES)
    for entry in everything.leases:
        by_folder.setdefault(posixpath.basename(entry.path), NO_FILES)

    removed: list[str] = []
    for folder, files_of_partition in sorted(by_folder.items()):
        try:
            removed += _show(job, _clean_partition(rules, folder, files_of_partition))
        except LeaseError as error:
            tell(f"{folder} was left alone: {error.found}")

    return removed + _clean_spools(everything, delete=True)


def _replaced_before(now: datetime, superseded_after: timedelta | None) -> datetime | None:
    if superseded_after is None:
        return None

    return now - max(superseded_after, LEAST_SUPERSEDED)


def replaced_at(runs: Sequence[Manifest | RunSummary]) -> dict[str, datetime | None]:
    """When published results were last replaced, by the run that wrote them.

    None: no record says that they were replaced, or they were restored since.
    """
    published: list[tuple[datetime, str, Manifest | RunSummary]] = []
    for run in runs:
        if run.status == "published" and run.finished_at is not None:
            published.append((run.finished_at, run.run_id, run))

    published.sort(key=lambda publication: publication[:2])
    replaced: dict[str, datetime | None] = {}
    latest: dict[str | None, str] = {}

    for finished_at, _, run in published:
        # By time, and by what the run itself says: hosts' clocks differ.
        for run_id in (latest.get(run.partition), run.replaces):
            if run_id is not None and run_id != run.result_id:
                replaced[run_id] = finished_at

        replaced[run.result_id] = None
        latest[run.partition] = run.result_id

    return replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """All files that nobody has touched for long enough."""

    files: Files
    leases: tuple[Entry, ...]
    spools: tuple[tuple[Store, tuple[Entry, ...]], ...]
    """Files that writers began and never finished, by store."""


def _list(workspace: Workspace, publisher: Publisher, oldest_s: float) -> _Listed:
    """List each store once."""
    predictions, state = workspace.predictions, workspace.state
    in_predictions, spools = predictions.list_with_spools()
    in_state, state_spools = state.list_with_spools()

    by_kind: dict[str, list[Entry]] = {}
    for entry in _untouched_since(oldest_s, in_state):
        by_kind.setdefault(entry.path.partition("/")[0], []).append(entry)

    monitoring: list[Entry] = []
    for kind in MONITORING:
        monitoring += by_kind.get(kind, [])

    writes_in_place = format_of(workspace.job).writes_in_place
    written = publisher.list_written(in_predictions if writes_in_place else in_state)

    return _Listed(
        files=Files(
            _untouched_since(oldest_s, written),
            tuple(by_kind.get("checkpoints", ())),
            tuple(monitoring),
            tuple(by_kind.get("samples", ())),
        ),
        leases=tuple(by_kind.get("leases", ())),
        spools=(
            (predictions, _untouched_since(oldest_s, spools)),
            (state, _untouched_since(oldest_s, state_spools)),
        ),
    )


def _untouched_since(oldest_s: float, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Files that nobody has written since a moment, in seconds since 1970."""
    return tuple(entry for entry in entries if entry.modified_s < oldest_s)


def _without_runs(entries: Sequence[Entry], run_ids: Collection[str]) -> tuple[Entry, ...]:
    """Files that belong to none of these runs."""
    return tuple(entry for entry in entries if run_id_of(entry.path) not in run_ids)


def _of_unpublished_runs(samples: Sequence[Entry], kept: Collection[str]) -> tuple[Entry, ...]:
    """Samples of rows that were never published. A baseline's is of no run."""
    of_runs = [entry for entry in samples if run_id_of(entry.path) is not None]
    return _without_runs(of_runs, kept)


def _by_folder(files: Files, runs: Sequence[RunSummary]) -> dict[str, Files]:
    """The files of each partition.

    Files without a partition in their path or a run's record are under ''.
    """
    folders = {run.run_id: _folder(run) for run in runs}
    grouped: dict[str, tuple[list[Entry], ...]] = {}
    kinds = (files.written, files.checkpoints, files.monitoring, files.samples)

    for i, entries in enumerate(kinds):
        for entry in entries:
            folder = _folder_in(entry.path) or folders.get(run_id_of(entry.path) or "", "")
            grouped.setdefault(folder, ([], [], [], []))[i].append(entry)

    return {folder: Files(*map(tuple, lists)) for folder, lists in grouped.items()}


def _folder_in(path: str) -> str:
    """The partition's folder that a path names; empty if it names none."""
    for name in path.split("/")[:-1]:
        if decode_folder(name):
            return name

    return ""


def _folder(run: Manifest | RunSummary) -> str:
    return encode_folder(run.partition_key, run.partition)


def _dead(state: Store, runs: Sequence[RunSummary]) -> list[Manifest]:
    """Runs that exited without recording a result, and are not recorded as dead yet."""
    open_ended: list[Manifest] = []
    for run in runs:
        if run.status in UNDER_WAY:
            manifest = find_manifest(state, _folder(run), run.run_id)
            if manifest is not None and manifest.status in UNDER_WAY:
                open_ended.append(manifest)

    return [manifest for manifest in mark_dead_runs(state, open_ended) if has_died(manifest)]


def _clean_partition(rules: Rules, folder: str, files: Files) -> Files:
    """Remove what is still not needed while this command holds the partition's lease.

    Raises:
        LeaseError: Another command holds it.
    """
    job = rules.job
    state = state_store(job)
    decoded = decode_folder(folder)

    if decoded is None:  # files of no recorded run, and nothing that readers see
        _delete(parts_store(job), files.written, None)
        _delete(state, files.checkpoints + files.samples, None)
        return files

    lease = Lease(job, folder, "clean")
    lease.acquire(WAIT_S)

    try:
        manifests, unreadable = list_manifests(state, folder)
        runs = [summarize(manifest) for manifest in manifests]
        live = rules.publisher.live(decoded[1])
        unneeded = rules.unneeded(files, runs, unreadable, [live] if live else [])

        for manifest in _dead(state, runs):
            lease.check()
            _mark_failed(job, manifest, live)

        # Checkpoints go last, and of these the claims: without them no run resumes what is gone.
        _delete(parts_store(job), unneeded.written, lease)
        _delete(state, unneeded.monitoring + unneeded.samples + unneeded.checkpoints, lease)

        return unneeded
    finally:
        lease.release()


def _delete(store: Store, entries: Sequence[Entry], lease: Lease | None) -> None:
    for start in range(0, len(entries), AT_ONCE):
        if lease is not None:
            lease.check()
        store.delete([entry.path for entry in entries[start : start + AT_ONCE]])


def _mark_failed(job: ScoringJob, dead: Manifest, live: Live | None) -> None:
    """Record that a run has died, so that it stops when it wakes up, if it was only asleep."""
    store, folder = state_store(job), _folder(dead)
    current = find_manifest(store, folder, dead.run_id)
    if current is None or current.status not in ("running", "prepared"):
        return  # it has recorded its end since

    failed = current.model_copy(update={"status": "failed", "error": DIED})
    reconciled = reconcile_with_live(store, failed, live)
    finished_at = reconciled.finished_at or datetime.now(UTC)
    write_manifest(store, folder, reconciled.model_copy(update={"finished_at": finished_at}))


def _clean_spools(listed: _Listed, *, delete: bool) -> list[str]:
    """Files that writers began and never finished, in the stores' temporary folders."""
    shown: list[str] = []
    for store, spools in listed.spools:
        paths = [entry.path for entry in spools]
        shown += map(store.locate_url, paths)
        if delete:
            store.delete(paths)

    return shown


def _show(job: ScoringJob, files: Files) -> list[str]:
    root = f"{job.output.uri}/" if format_of(job).writes_in_place else ""
    written = [f"{root}{entry.path}" for entry in files.written]
    in_state = (*files.checkpoints, *files.monitoring, *files.samples)
    return written + [entry.path for entry in in_state]


def _unsafe(state: Store) -> StorageError:
    return StorageError(
        "Replaced results cannot be removed safely from this kind of store: another command may be "
        "restoring them.",
        state.url,
        expected="a disk or S3, which refuse to create a file that exists",
        found=f"{state.scheme}://",
        next_step="leave --superseded-days out; files of dead runs are removed anyway",
    )
