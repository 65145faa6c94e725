"""A Delta table that is opened once and then updated, instead of reading its log from the start."""

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

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
from nightscore.storage.unreachable import unreachable_store

STORE_ATTEMPTS = 3
"""Times that the store may fail. Each is several requests already."""

BODY_ATTEMPTS = 12
"""Times that an answer may end early. Each fails at once."""

PANIC = "PanicException"
"""pyo3's exception. Its module cannot be imported."""

COLORS = re.compile(r"\x1b\[[0-9;]*m")
"""Codes for terminals, which delta-rs puts into its errors."""

NO_SPACE = "No space left on device"


@dataclass(frozen=True, slots=True)
class _LoadedTable:
    """A table as it was loaded last."""

    table: DeltaTable
    commit_version: str | None
    """Version of the object that holds the table's last commit. None: unknown."""


class TableHandle:
    """The open tables of one place in this process.

    Each is used by one caller at a time, and is as new as its last use.
    """

    def __init__(self, store: Store, run_cache: RunCache) -> None:
        """Open nothing yet.

        Args:
            store: The table's.
            run_cache: Holds the tables that earlier runs of this process have opened.
        """
        self._store, self._run_cache = store, run_cache
        self._key = ("table", store.url, json.dumps(dict(store.options), sort_keys=True))

    @contextlib.contextmanager
    def loaded(self) -> Iterator[DeltaTable | None]:
        """The table as it is now. None: there is none. Do not use it after the block.

        Raises:
            StorageError: It cannot be read.
        """
        with _translated_panic(self._store.url):
            loaded = self._load()
            yield None if loaded is None else loaded.table

        # After an error nobody knows what state the table is in.
        if loaded is not None:
            self._run_cache.hand_back(self._key, loaded)

    def _load(self) -> _LoadedTable | None:
        cached = self._run_cache.borrow(self._key, _LoadedTable)

        if cached is not None:
            # Whatever goes wrong: a table that is opened anew also has new credentials.
            with contextlib.suppress(DeltaError, OSError):
                if (updated := self._update(cached)) is not None:
                    return updated

        for attempt in itertools.count(1):
            try:
                table = self._open()
            except TableNotFoundError:
                return None
            except (DeltaError, OSError) as error:
                failure = translate_table_error(error, self._store.url)
                can_retry = isinstance(failure, StorageUnavailableError)
                if not can_retry or attempt >= n_attempts(error):
                    raise failure from error
            else:
                return _LoadedTable(table, self._find_commit_or_none(table.version()))

        raise AssertionError

    def _open(self) -> DeltaTable:
        options = self._store.table_options()
        return DeltaTable(self._store.table_url, storage_options=options)

    def _update(self, cached: _LoadedTable) -> _LoadedTable | None:
        """The same table with all commits until now. None: another may be in its place.

        Versions have no gaps: if the next one does not exist, nobody has committed since.
        """
        version = cached.table.version()

        if cached.commit_version is None:
            return None
        if self._find_commit_or_none(version) != cached.commit_version:
            return None
        if not self._may_have_commit(version + 1):
            return cached

        cached.table.update_incremental()
        new_version = cached.table.version()

        return _LoadedTable(cached.table, self._find_commit_or_none(new_version))

    def _find_commit_or_none(self, version: int) -> str | None:
        """Version of a commit's object. None: there is no such commit, or nobody can say."""
        try:
            return self._find_commit(version)
        except ScoringError:
            return None

    def _may_have_commit(self, version: int) -> bool:
        """Whether there is such a commit, or nobody can say."""
        try:
            return self._find_commit(version) is not None
        except ScoringError:
            return True

    def _find_commit(self, version: int) -> str | None:
        """ETag or modification time of a commit's object, in one request where possible."""
        path = f"_delta_log/{version:020d}.json"
        if self._store.is_conditional:
            head = self._store.head(path)
            return None if head is None else head[0]
        try:
            return self._store.describe(path).version
        except LocationNotFoundError:
            return None


def n_attempts(error: Exception) -> int:
    """How often a request may fail like this.

    delta-rs retries requests itself, except for an answer that ended early.
    """
    return BODY_ATTEMPTS if "response body error" in str(error) else STORE_ATTEMPTS


def translate_table_error(error: Exception, where: str) -> StorageError:
    """An error of delta-rs, which says in words what the store answered, as one of ours."""
    message = " ".join(COLORS.sub("", str(error)).split())[:400]
    if refusal := credentials_error_in(message, where):
        return refusal

    if "NoSuchBucket" in message or "bucket does not exist" in message:
        return LocationNotFoundError(
            "No such bucket.", where, found=message, next_step="check output.uri"
        )

    if NO_SPACE in message:
        return StorageError(
            "The disk is full; nothing was published.",
            where,
            found=message,
            next_step="make room (`nightscore clean` removes what dead runs left), then run again",
        )

    if unreachable := unreachable_store(where, message):
        return unreachable

    if isinstance(error, OSError):
        return StorageUnavailableError(
            "The store did not answer, or its response was unexpected.",
            where,
            found=message,
            next_step="check the endpoint, the network and the disk, then run again",
        )

    return StorageError(
        "The Delta table cannot be read or written.",
        where,
        found=message,
        next_step="check that the folder is a Delta table and was written by nothing else",
    )


@contextlib.contextmanager
def _translated_panic(where: str) -> Iterator[None]:
    """Turn a panic of delta-rs into a StorageError.

    It panics over some damage in a log. In Python that is no Exception, so nobody would catch it.
    """
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
            next_step="restore `_delta_log`: without a damaged checkpoint and `_last_checkpoint` "
            "the table is read from its commits, where these are all there",
        ) from error
