"""The history of a partition: the records of its runs, listed once for each question."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from nightscore.ledger.layout import run_id_of
from nightscore.ledger.live import Live
from nightscore.ledger.liveness import has_died, mark_dead_runs, reconcile_with_live
from nightscore.ledger.manifest_files import find_manifest, map_records, read_listed, write_manifest
from nightscore.ledger.run_summaries import UNDER_WAY, summarize
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.run_summary import RunSummary
from nightscore.storage.protocol import Entry
from nightscore.storage.store import Store

AnyRun = TypeVar("AnyRun", Manifest, RunSummary)


class LatestResults(NamedTuple):
    """The latest results of a partition, by its records."""

    published: Manifest | None
    """The run whose results were published last. After a rollback, the run that it restored."""
    with_held: Manifest | None
    """The same, unless a newer run is held: then that one."""


class PartitionHistory:
    """The runs of one partition, newest first, as the store lists them when this is made.

    One history answers one question. A decision that must see later runs makes a new one. A record
    is read when it is first needed, and only once.
    """

    def __init__(
        self,
        workspace: Workspace,
        value: str | None,
        entries: Sequence[Entry] | None = None,
        summaries: Callable[[], Mapping[str, RunSummary]] | None = None,
    ) -> None:
        """List the records.

        Args:
            workspace: Of the job.
            value: Of the partition.
            entries: The records, if they are listed already.
            summaries: Returns these records in short, by path. None: they are read.
        """
        self.folder = workspace.folder(value)
        self._workspace = workspace
        self._summaries = summaries

        if entries is None:
            entries = workspace.state.list_files(f"runs/{self.folder}")

        by_run = {run_id_of(entry.path) or "": entry for entry in entries}
        run_ids = sorted((run_id for run_id in by_run if run_id), reverse=True)
        self._entries = {run_id: by_run[run_id] for run_id in run_ids}
        self._records: dict[str, Manifest | None] = {}

    @property
    def run_ids(self) -> list[str]:
        """The runs that have records, newest first."""
        return list(self._entries)

    def runs(self) -> list[Manifest]:
        """All records that can be read, newest run first."""
        map_records(self._workspace.state, self.find, self.run_ids)
        records = (self._records[run_id] for run_id in self._entries)
        return [record for record in records if record is not None]

    def find(self, run_id: str) -> Manifest | None:
        """The record of one run. None if there is none that can be read."""
        entry = self._entries.get(run_id)
        if entry is None:
            return None
        if run_id not in self._records:
            workspace = self._workspace
            self._records[run_id] = read_listed(workspace.state, entry, workspace.run_cache)
        return self._records[run_id]

    def summary(self, run_id: str) -> RunSummary | None:
        """The record of one run in short. None if there is none that can be read."""
        entry = self._entries.get(run_id)
        if entry is None:
            return None
        if self._summaries is not None and run_id not in self._records:
            return self._summaries().get(entry.path)

        manifest = self.find(run_id)
        return None if manifest is None else summarize(manifest)

    def summaries(self) -> list[RunSummary]:
        """All records that can be read in short, newest run first."""
        if self._summaries is None:
            map_records(self._workspace.state, self.find, self.run_ids)
        summaries = (self.summary(run_id) for run_id in self._entries)
        return [summary for summary in summaries if summary is not None]

    def newest(self) -> Manifest | None:
        """The record of the newest run. None if there are no runs, or it cannot be read."""
        run_id = next(iter(self._entries), None)
        return None if run_id is None else self.find(run_id)

    def latest(self) -> LatestResults:
        """The latest results: without runs that are held, and with them."""
        held: Manifest | None = None
        for manifest in self._newest_first():
            if manifest.status == "published":
                restored = manifest.restores
                published = manifest if restored is None else self.find(restored)
                return LatestResults(published, held or published)
            if manifest.status == "held" and held is None:
                held = manifest
        return LatestResults(None, held)

    def standing(self, live: Live | None) -> Manifest | None:
        """The record behind what readers see.

        It is that of the rollback that restored it, else of the run that wrote it.
        None if readers see nothing, or there is no record that can be read.
        """
        if live is None or live.run_id is None:
            return None

        later = self._newest_first(after=live.run_id)
        restoring = [manifest for manifest in later if manifest.restores == live.run_id]
        for manifest in mark_dead_runs(self._workspace.state, restoring):
            # What a rollback restored is live, so it came to its commit even if it died.
            if manifest.status in ("published", "prepared", "running") or has_died(manifest):
                return manifest

        return self.find(live.run_id)

    def complete(self, live: Live | None) -> Manifest | None:
        """The standing record, completed in the store if its run died after the commit.

        Call it before another run replaces the results: the history is told by records.
        """
        standing = self.standing(live)
        if standing is None or standing.status == "published":
            return standing

        state = self._workspace.state
        reconciled = _as_ended(state, standing, live)
        if reconciled.status == "published":
            reconciled = write_manifest(state, self.folder, reconciled)

        self._records[reconciled.run_id] = reconciled
        return reconciled

    def undecided(self, fingerprint: str) -> Manifest | None:
        """See `find_undecided`."""
        return find_undecided(self.runs(), fingerprint)

    def reconciled(self, live: Live | None) -> list[Manifest]:
        """All runs as they ended.

        Dead runs are shown as failed, or as published if readers see their results.
        """
        state = self._workspace.state
        marked = mark_dead_runs(state, self.runs())
        return [reconcile_with_live(state, manifest, live) for manifest in marked]

    def outcomes(self, live: Live | None) -> list[RunSummary]:
        """What `reconciled` returns, in short. Only records in doubt are read whole."""
        summaries = self.summaries()
        live_run_id = None if live is None else live.run_id

        in_doubt: list[Manifest] = []
        for summary in summaries:
            is_live = live_run_id is not None and summary.result_id == live_run_id
            if summary.status in UNDER_WAY or (is_live and summary.status in ("failed", "held")):
                manifest = self.find(summary.run_id)
                if manifest is not None:
                    in_doubt.append(manifest)

        if not in_doubt:
            return summaries

        state = self._workspace.state
        marked = mark_dead_runs(state, in_doubt)
        reconciled = [reconcile_with_live(state, manifest, live) for manifest in marked]
        ended = {manifest.run_id: summarize(manifest) for manifest in reconciled}

        return [ended.get(summary.run_id, summary) for summary in summaries]

    def _newest_first(self, after: str = "") -> Iterator[Manifest]:
        """Records that can be read, each when it is asked for, of runs that began after a run."""
        for run_id in self._entries:
            if run_id <= after:
                return
            manifest = self.find(run_id)
            if manifest is not None:
                yield manifest


def find_writer(workspace: Workspace, value: str | None, live: Live) -> Manifest | None:
    """The record, as it ended, of the run that wrote what readers see.

    It is read now, by its name: nothing is listed, and nothing is taken from a cache.
    None if there is no record that can be read.
    """
    if live.run_id is None:
        return None

    state = workspace.state
    stored = find_manifest(state, workspace.folder(value), live.run_id)
    return None if stored is None else _as_ended(state, stored, live)


def publications(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The runs of one partition that readers have seen, the latest publication first."""
    published = [
        manifest
        for manifest in manifests
        if manifest.status == "published" and manifest.finished_at and manifest.output.files
    ]
    published.sort(key=lambda m: (m.finished_at or m.started_at, m.run_id), reverse=True)
    return published


def find_undecided(runs: Iterable[AnyRun], fingerprint: str) -> AnyRun | None:
    """The run over the same work that a gate held or a reviewer rejected.

    None if a later run over the same work was published.

    Args:
        runs: Of the partition, newest first.
        fingerprint: Of the work.
    """
    for run in runs:
        is_scoring = not run.replays and not run.restores
        if not is_scoring or run.work != fingerprint:
            continue
        if run.status == "published":
            return None
        if run.status in ("held", "rejected"):
            return run

    return None


def _as_ended(state: Store, manifest: Manifest, live: Live | None) -> Manifest:
    """The record of one run: failed if it is dead, or published if readers see its results."""
    (marked,) = mark_dead_runs(state, [manifest])
    return reconcile_with_live(state, marked, live)
