"""The runs of all partitions of a job, or of some, from one listing."""

from collections.abc import Collection, Sequence
from functools import cached_property

from nightscore.ledger.history import PartitionHistory
from nightscore.ledger.layout import run_id_of
from nightscore.ledger.listing_index import READ_ANYWAY, Listing
from nightscore.ledger.manifest_files import map_records, read_listed
from nightscore.ledger.run_summaries import recall_summaries
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import decode_folder
from nightscore.schemas.run_summary import RunSummary
from nightscore.storage.protocol import Entry


class JobHistory:
    """The histories of partitions, as the store lists them when this is made.

    Nothing is read before it is needed. What is asked of all runs comes from an index.
    """

    def __init__(self, workspace: Workspace, values: Collection[str | None] | None = None) -> None:
        """List the records.

        Args:
            workspace: Of the job.
            values: Of the partitions; None: all that have runs.
        """
        self._workspace = workspace
        self._folders: set[str] | None = None
        if values is not None:
            self._folders = {workspace.folder(value) for value in values}

        self._entries = self._list()

    @property
    def n_runs(self) -> int:
        """Number of records, readable or not."""
        return len(self._entries)

    @cached_property
    def partitions(self) -> dict[str | None, PartitionHistory]:
        """The history of each partition that has runs."""
        entries: dict[str | None, list[Entry]] = {}
        for entry in self._entries:
            decoded = decode_folder(entry.path.split("/")[1])
            if decoded is not None:
                entries.setdefault(decoded[1], []).append(entry)

        # Few records are read when they are needed, and only once.
        is_short = self.n_runs <= READ_ANYWAY
        summaries = None if is_short else lambda: self._by_path

        return {
            value: PartitionHistory(self._workspace, value, listed, summaries)
            for value, listed in entries.items()
        }

    def find(self, run_id: str) -> Manifest | None:
        """The record of one run. None if there is none that can be read."""
        entries = [entry for entry in self._entries if run_id_of(entry.path) == run_id]
        return next(iter(self._read(entries)), None)

    def summaries(self) -> list[RunSummary]:
        """All records that can be read in short, newest run first."""
        return sorted(self._by_path.values(), key=lambda run: run.run_id, reverse=True)

    def unreadable(self) -> list[str]:
        """The paths of the records that cannot be read."""
        return [entry.path for entry in self._entries if entry.path not in self._by_path]

    def newest(self, n_runs: int) -> list[Manifest]:
        """So many of the newest records that can be read, newest run first; 0: all."""
        entries = sorted(self._entries, key=lambda entry: run_id_of(entry.path) or "", reverse=True)
        step = n_runs or len(entries)
        newest: list[Manifest] = []

        for start in range(0, len(entries), step or 1):
            newest += self._read(entries[start : start + step])
            if len(newest) >= step:
                return newest[:step]

        return newest

    def _read(self, entries: Sequence[Entry]) -> list[Manifest]:
        state, run_cache = self._workspace.state, self._workspace.run_cache
        records = map_records(state, lambda entry: read_listed(state, entry, run_cache), entries)
        return [record for record in records if record is not None]

    @cached_property
    def _by_path(self) -> dict[str, RunSummary]:
        listing = Listing(self._entries, self._list, is_complete=self._folders is None)
        return recall_summaries(self._workspace, listing)

    def _list(self) -> list[Entry]:
        state = self._workspace.state
        if self._folders is None:
            listed = state.list_files("runs")
        else:
            listed = state.list_below(self._folders, "runs")
        return [entry for entry in listed if run_id_of(entry.path)]
