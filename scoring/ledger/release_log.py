"""The release log of an alias: one file an entry, which is never changed.

    <log>/flight_delay@champion/
        00000001.json           an entry: from which version to which, who, why, on what grounds
        00000001.outcome.json   whether the alias was moved, or the entry was abandoned
        00000002.proposal.json  the next entry, if somebody approves it
        jobs/<job>.json         the jobs that use the alias
        canaries/<job>/00000001.json    when a job's canary began or ended, with its arms

MLflow moves an alias whatever it means by then, and keeps no history. So the log is the lock, too:
an entry is created on the condition that there is none of its number, and nobody begins another one
before it has an outcome. Of two that are at it, one succeeds.

A proposal has the number of the entry that it is going to be. It is approved or rejected by that
entry, so that of two who decide one succeeds, and any other entry makes it void.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from nightscore.errors import ConflictError, StorageError
from nightscore.ledger.layout import predictions_store, state_store
from nightscore.ledger.manifest_files import map_records
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import StoredRecord, read_record
from nightscore.schemas.release_entry import OutcomeRecord, ReleaseEntry, ReleaseJobRecord
from nightscore.storage.store import Store

FOLDER = "releases"
"""Below the state folder, unless the job names another place."""
FORGOTTEN_DAYS = 3
"""After which it is said how long a proposal has waited: over a weekend it need not be."""
_ENTRY = re.compile(r"(\d{8})\.json")


def waiting_days(proposal: ReleaseEntry, now: datetime) -> int:
    """For how many whole days a proposal has waited."""
    return max(0, (now - (proposal.proposed_at or proposal.at)).days)


@dataclass(frozen=True, slots=True)
class Release:
    """An entry of the log, and what became of it."""

    entry: ReleaseEntry
    outcome: OutcomeRecord | None = None

    @property
    def is_pending(self) -> bool:
        """It was begun, and nobody knows whether the alias was moved."""
        return self.entry.kind in ("promoted", "demoted") and self.outcome is None

    @property
    def is_effective(self) -> bool:
        """The alias meant its version from then on."""
        if self.entry.kind == "moved":
            return True
        return self.outcome is not None and self.outcome.outcome == "done"

    @property
    def effective_at(self) -> datetime:
        """When the alias was known to mean its version."""
        return self.outcome.at if self.outcome is not None else self.entry.at


class ReleaseLog:
    """The log of one alias. Nothing is read before it is asked for."""

    def __init__(self, job: ScoringJob, model: str, alias: str) -> None:
        """Note the place.

        Args:
            job: Says where it is, and how the store is opened.
            model: Name of the registered model.
            alias: Of the model.
        """
        folder = f"{quote(model, safe='')}@{quote(alias, safe='')}"
        self._root = state_store(job)
        self._prefix = f"{FOLDER}/{folder}"

        if job.release is not None and job.release.log is not None:
            self._root = Store(job.release.log, predictions_store(job).options)
            self._prefix = folder

    @property
    def place(self) -> str:
        """Its absolute URL, by which all jobs must mean the same log."""
        return self._root.locate_url(self._prefix)

    def canaries(self, job: str) -> tuple[Store, str]:
        """Where the canaries of a job are logged: the store, and the folder in it."""
        return self._root, f"{self._prefix}/canaries/{quote(job, safe='')}"

    def read(self) -> list[Release]:
        """All entries, the oldest first.

        Raises:
            StorageError: An entry cannot be read; with its place.
        """
        names = self._names()
        numbers = [int(match[1]) for name in names if (match := _ENTRY.fullmatch(name))]
        return map_records(self._root, lambda number: self._read(number, names), sorted(numbers))

    def newest(self) -> Release | None:
        """The newest entry. None: there is none."""
        names = self._names()
        numbers = [int(match[1]) for name in names if (match := _ENTRY.fullmatch(name))]
        return self._read(max(numbers), names) if numbers else None

    def append(self, entry: ReleaseEntry) -> None:
        """Add an entry.

        Raises:
            ConflictError: Somebody else has added one of this number; nothing was changed.
        """
        content = entry.model_dump_json(indent=2).encode()
        self._root.create(self._path(entry.number), content)

    def propose(self, entry: ReleaseEntry) -> None:
        """Add a proposal.

        Raises:
            ConflictError: Another one waits; nothing was changed.
        """
        content = entry.model_dump_json(indent=2).encode()
        self._root.create(self._proposal_path(entry.number), content)

    def proposal(self, releases: Sequence[Release]) -> ReleaseEntry | None:
        """The proposal that waits for a decision. None: there is none, or it is void by now.

        Args:
            releases: The log as it was read.
        """
        path = self._proposal_path(next_number(releases))
        return self._record(path, ReleaseEntry) if self._root.exists(path) else None

    def end(self, outcome: OutcomeRecord) -> OutcomeRecord:
        """Say what became of an entry. Returns what stands: somebody else may have been first."""
        path = self._outcome_path(outcome.number)
        try:
            self._root.create(path, outcome.model_dump_json(indent=2).encode())
        except ConflictError:
            return self._record(path, OutcomeRecord)
        return outcome

    def jobs(self) -> list[ReleaseJobRecord]:
        """The jobs that were noted, in the order of their names."""
        folder = f"{self._prefix}/jobs"
        paths = [f"{folder}/{name}" for name in self._root.list_names(folder)[1]]
        return map_records(self._root, lambda path: self._record(path, ReleaseJobRecord), paths)

    def note_job(self, job: ScoringJob, now: datetime) -> None:
        """Note that a job uses the alias, unless it is noted already."""
        record = ReleaseJobRecord(job=job.name, output=job.output.uri, file=job.given_as, at=now)
        path = f"{self._prefix}/jobs/{job.name}.json"
        if not self._root.exists(path):
            self._root.write_bytes(path, record.model_dump_json(indent=2).encode())

    def check_exclusive(self, command: str) -> None:
        """Prove that of two writers of an entry one succeeds.

        Raises:
            StorageError: The store cannot tell who was first.
        """
        if not self._root.capabilities.can_create:
            raise StorageError(
                f"`nightscore {command}` needs a store on which only one of several writers can "
                "create a file; nothing was changed.",
                self.place,
                expected="a release log on a disk, on S3, or on another store with conditional "
                "writes",
                found=f"{self._root.scheme}://, where two promotions could both take effect",
                next_step="name such a place as release.log in the job file",
            )

        if self._root.needs_probe:
            self._root.check_exclusive()

    def _names(self) -> set[str]:
        return set(self._root.list_names(self._prefix)[1])

    def _read(self, number: int, names: set[str]) -> Release:
        entry = self._record(self._path(number), ReleaseEntry)
        outcome_path = self._outcome_path(number)
        if outcome_path.rpartition("/")[2] not in names:
            return Release(entry)
        return Release(entry, self._record(outcome_path, OutcomeRecord))

    def _record(self, path: str, kind: type[StoredRecord]) -> StoredRecord:
        try:
            return read_record(self._root.read_bytes(path), kind)
        except ValueError as error:
            raise StorageError(
                "A file of the release log cannot be read; nothing was changed.",
                self._root.locate_url(path),
                found=str(error)[:200],
                next_step="update nightscore if a later version wrote it, or restore the file",
            ) from error

    def _path(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.json"

    def _proposal_path(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.proposal.json"

    def _outcome_path(self, number: int) -> str:
        return f"{self._prefix}/{number:08d}.outcome.json"


def next_number(releases: Sequence[Release]) -> int:
    """The number of the next entry."""
    return releases[-1].entry.number + 1 if releases else 1
