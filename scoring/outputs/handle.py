"""A Delta table that is opened once and then brought up to date: its log is not read from the beginning each time."""

import itertools
import json

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from scoring.errors import (
    CredentialsError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
    StorageUnavailableError,
)
from scoring.kept import Kept
from scoring.storage import Store

STORE_ATTEMPTS = 3
"""Times that the store may fail: each is several requests already."""
BODY_ATTEMPTS = 12
"""Times that an answer may end early: each fails at once."""


class TableHandle:
    """One caller's view of a table. What it has read is handed on to the next one by `release`."""

    def __init__(self, store: Store, kept: Kept | None = None) -> None:
        """Nothing is opened yet.

        Args:
            store: Of the table.
            kept: Tables that earlier runs of this process have opened.
        """
        self._store, self._kept = store, kept
        self._key = ("table", store.url, json.dumps(dict(store.options), sort_keys=True))
        self._seen = None if kept is None else kept.borrow(self._key, _Seen)
        self._is_loaded = False
        """By this caller: what another one has seen is too old to decide on."""

    def load(self) -> DeltaTable | None:
        """The table as it is now; None: there is none.

        Raises:
            StorageError: It cannot be read.
        """
        for attempt in itertools.count(1):
            known, self._seen = self._seen, None
            try:
                table = self._updated(known) if known else None
                table = table or DeltaTable(self._store.url, storage_options=self._store.table_options())
            except TableNotFoundError:
                if known:
                    continue
                return None
            except (DeltaError, OSError) as error:
                if known:
                    continue  # whatever it was: a table that is opened anew has new credentials, too
                failure = mapped(error, self._store.url)
                if not isinstance(failure, StorageUnavailableError) or attempt >= n_attempts(error):
                    raise failure from error
                continue
            is_same = known is not None and known.table is table and known.version == table.version()
            self._seen, self._is_loaded = known if is_same else self._look(table), True
            return table
        raise AssertionError

    @property
    def last(self) -> DeltaTable | None:
        """The table as it was when it was loaded last; None: it is to be loaded."""
        return self._seen.table if self._seen is not None and self._is_loaded else None

    def forget(self) -> None:
        """Open the table anew when it is next asked for."""
        self._seen = None

    def release(self) -> None:
        """Let the next run go on with what was read; this one opens the table anew if it asks again."""
        if self._kept is not None and self._seen is not None:
            self._kept.hand_back(self._key, self._seen)
        self._seen = None

    def _updated(self, known: "_Seen") -> DeltaTable | None:
        """The same table with all commits until now; None: there is another in its place."""
        if self._stamp(known.version) != known.stamp:
            return None
        known.table.update_incremental()
        return known.table

    def _look(self, table: DeltaTable) -> "_Seen | None":
        version = table.version()
        stamp = self._stamp(version)
        return None if stamp is None else _Seen(table, version, stamp)

    def _stamp(self, version: int) -> str | None:
        """Which object the log has as this version's commit; None: none, or nobody can say."""
        try:
            return self._store.describe(f"_delta_log/{version:020d}.json").version
        except ScoringError:
            return None


class _Seen:
    """A table as it was loaded last."""

    def __init__(self, table: DeltaTable, version: int, stamp: str) -> None:
        self.table, self.version, self.stamp = table, version, stamp


def n_attempts(error: Exception) -> int:
    """How often a request may fail like this: delta-rs repeats one itself, but for an answer that ended early."""
    return BODY_ATTEMPTS if "response body error" in str(error) else STORE_ATTEMPTS


def mapped(error: Exception, where: str) -> StorageError:
    """delta-rs says in words what the store answered."""
    found = " ".join(str(error).split())[:400]
    if any(word in found for word in ("privileges", "Unauthenticated", "credential", "Forbidden", "AccessDenied")):
        return CredentialsError(
            "The store refused the credentials, or there are none.",
            where,
            expected="credentials that may list, read and write here",
            found=found,
            next_step="set output.storage_options (key, secret as ${ENV_NAME}) or the store's environment variables",
        )
    if "NoSuchBucket" in found or "bucket does not exist" in found:
        return LocationNotFoundError("No such bucket.", where, found=found, next_step="check output.uri")
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
