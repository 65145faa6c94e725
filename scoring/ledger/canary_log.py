"""The canaries of a job: when which arms began and ended. Backfills reproduce arms by it.

Its entries are in the release log of the job's alias, and have numbers of their own: nights that
begin a canary are never in the way of somebody who promotes.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from nightscore.errors import StorageError
from nightscore.ledger.manifest_files import map_records
from nightscore.ledger.release_log import Release, ReleaseLog
from nightscore.schemas.canary import CanaryRecord
from nightscore.schemas.manifest import read_record
from nightscore.schemas.release_entry import CanaryEntry

_ENTRY = re.compile(r"(\d{8})\.json")


class CanaryLog:
    """The entries of one job in the release log of its alias."""

    def __init__(self, log: ReleaseLog, job: str) -> None:
        """Note the place. Nothing is read before it is asked for."""
        self._store, self._folder = log.canaries(job)

    @property
    def place(self) -> str:
        """Its absolute URL."""
        return self._store.locate_url(self._folder)

    def read(self) -> list[CanaryEntry]:
        """All entries, the oldest first.

        Raises:
            StorageError: An entry cannot be read; with its place.
        """
        names = self._store.list_names(self._folder)[1]
        numbers = [int(match[1]) for name in names if (match := _ENTRY.fullmatch(name))]
        return map_records(self._store, self._read, sorted(numbers))

    def append(self, entry: CanaryEntry) -> None:
        """Add an entry.

        Raises:
            ConflictError: Somebody else has added one of this number; nothing was changed.
        """
        content = entry.model_dump_json(indent=2).encode()
        self._store.create(self._path(entry.number), content)

    def _read(self, number: int) -> CanaryEntry:
        path = self._path(number)
        try:
            return read_record(self._store.read_bytes(path), CanaryEntry)
        except ValueError as error:
            raise StorageError(
                "A file of the release log cannot be read; nothing was changed.",
                self._store.locate_url(path),
                found=str(error)[:200],
                next_step="update nightscore if a later version wrote it, or restore the file",
            ) from error

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:08d}.json"


def canary_at(entries: Sequence[CanaryEntry], moment: datetime) -> CanaryRecord | None:
    """The canary that was under way at a time. None: none was, or it is before the first entry.

    Args:
        entries: Of the job, oldest first.
        moment: In UTC.
    """
    before = [entry for entry in entries if entry.at <= moment]
    if not before or before[-1].kind != "started":
        return None
    return before[-1].canary


def standing_stop(
    entries: Sequence[CanaryEntry], releases: Sequence[Release], salt: str
) -> CanaryEntry | None:
    """The entry by which a canary must not start. None: it may.

    A stopped one starts again with another salt, or once a version was promoted since.

    Args:
        entries: Of the job, oldest first.
        releases: Of the alias, oldest first.
        salt: Of the canary that would start.
    """
    stops = [one for one in entries if one.kind == "stopped" and one.canary.salt == salt]
    if not stops:
        return None

    newest = stops[-1]
    for release in releases:
        is_promotion = release.entry.kind == "promoted" and release.is_effective
        if is_promotion and release.effective_at > newest.at:
            return None

    return newest
