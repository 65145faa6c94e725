"""A Delta table that is opened once and then brought up to date: its log is not read from the beginning each time."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from nightscore.errors import (
    LocationNotFoundError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)
from nightscore.storage.errors import credentials_error_in
from nightscore.storage.run_cache import RunCache
from nightscore.storage.store import Store

STORE_ATTEMPTS = 3
"""Times that the store may fail: each is several requests already."""
PANIC = "PanicException"
"""Of pyo3; its module cannot be imported."""
COLORS = re.compile(r"\x1b\[[0-9;]*m")
"""Codes for terminals, which delta-rs puts into its errors."""
NO_ROOM = "No space left on device"
BODY_ATTEMPTS = 12
"""Times that an answer may end early: each fails at once."""


class TableHandle:
    """The tables of one place that this process has open: each is one caller's at a time, and as new as its last."""

    def __init__(self, store: Store, run_cache: RunCache | None = None) -> None:
        """Nothing is opened yet.

        Args:
            store: Of the table.
            run_cache: Has the tables that earlier runs of this process have opened. None: this caller has its own.
        """
        self._store, self._run_cache = store, run_cache or RunCache()
        self._key = ("table", store.url, json.dumps(dict(store.options), sort_keys=True))

    @contextlib.contextmanager
    def loaded(self) -> Iterator[DeltaTable | None]:
        """The table as it is now; None: there is none. Not to be used outside of the block.

        Raises:
            StorageError: It cannot be read.
        """
        with _explained_panic(self._store.url):
            seen = self._load()
            yield None if seen is None else seen.table
        if seen is not None:  # after an error nobody knows what its state is
            self._run_cache.hand_back(self._key, seen)

    def _load(self) -> "_Seen | None":
        known = self._run_cache.borrow(self._key, _Seen)
        for attempt in itertools.count(1):
            before, known = known, None
            try:
                if before is not None and (updated := self._update(before)) is not None:
                    return updated
                table = DeltaTable(
                    self._store.table_url, storage_options=self._store.table_options()
                )
            except TableNotFoundError:
                if before is None:
                    return None
            except (DeltaError, OSError) as error:
                if before is not None:
                    continue  # whatever it was: a table that is opened anew has new credentials, too
                failure = mapped(error, self._store.url)
                if not isinstance(failure, StorageUnavailableError) or attempt >= n_attempts(error):
                    raise failure from error
            else:
                return _Seen(table, self._stamp(table.version()))
        raise AssertionError

    def _update(self, known: "_Seen") -> "_Seen | None":
        """The same table with all commits until now; None: there may be another in its place.

        Versions have no gaps: where the next one is not there, nobody has committed since.
        """
        version = known.table.version()
        if known.stamp is None or self._stamp(version) != known.stamp:
            return None
        if not self._has(version + 1):
            return known
        known.table.update_incremental()
        return _Seen(known.table, self._stamp(known.table.version()))

    def _stamp(self, version: int) -> str | None:
        """Which object the log has as this version's commit; None: none, or nobody can say."""
        try:
            return self._look(version)
        except ScoringError:
            return None

    def _has(self, version: int) -> bool:
        """Whether there is such a commit, or nobody can say."""
        try:
            return self._look(version) is not None
        except ScoringError:
            return True

    def _look(self, version: int) -> str | None:
        """ETag or time of change of a commit's object, in one request where the store can be asked so."""
        path = _commit_path(version)
        if self._store.is_conditional:
            head = self._store.head(path)
            return None if head is None else head[0]
        try:
            return self._store.describe(path).version
        except LocationNotFoundError:
            return None


@contextlib.contextmanager
def _explained_panic(where: str) -> Iterator[None]:
    """delta-rs panics over some damage in a log: in Python that is no Exception, which nobody would catch."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise StorageError(
            "The Delta table's log cannot be read: its library panicked.",
            where,
            expected="a log and checkpoints as they were written",
            found=" ".join(str(error).split())[:400],
            next_step="restore `_delta_log`: without a damaged checkpoint and `_last_checkpoint` the table is read "
            "from its commits, where these are all there",
        ) from error


def _commit_path(version: int) -> str:
    return f"_delta_log/{version:020d}.json"


class _Seen:
    """A table as it was loaded last."""

    def __init__(self, table: DeltaTable, stamp: str | None) -> None:
        self.table, self.stamp = table, stamp


def n_attempts(error: Exception) -> int:
    """How often a request may fail like this: delta-rs repeats one itself, but for an answer that ended early."""
    return BODY_ATTEMPTS if "response body error" in str(error) else STORE_ATTEMPTS


def mapped(error: Exception, where: str) -> StorageError:
    """delta-rs says in words what the store answered."""
    found = " ".join(COLORS.sub("", str(error)).split())[:400]
    if refused := credentials_error_in(found, where):
        return refused
    if "NoSuchBucket" in found or "bucket does not exist" in found:
        return LocationNotFoundError(
            "No such bucket.", where, found=found, next_step="check output.uri"
        )
    if NO_ROOM in found:
        return StorageError(
            "The disk is full; nothing was published.",
            where,
            found=found,
            next_step="make room (`nightscore clean` removes what dead runs left), then run again",
        )
    if isinstance(error, OSError):
        return StorageUnavailableError(
            "The store did not answer as it should.",
            where,
            found=found,
            next_step="check the endpoint, the network and the disk, then run again",
        )
    return StorageError(
        "The Delta table cannot be read or written.",
        where,
        found=found,
        next_step="check that the folder is a Delta table and was written by nothing else",
    )
