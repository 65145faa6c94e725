"""The one door to files and buckets: list, read, write whole files, replace on a condition."""

import itertools
import posixpath
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from nightscore.errors import ConflictError, LocationNotFoundError, StorageError
from nightscore.storage.backend_catalog import find_backend
from nightscore.storage.errors import is_beyond_end, no_etags, translated_errors, unsupported
from nightscore.storage.hashing import hash_file
from nightscore.storage.protocol import (
    NEEDS_ETAGS,
    WITHOUT_ETAG,
    Backend,
    Capabilities,
    Entry,
)

FOLDERS_LISTED = 8
"""Folders of an object store that are listed one by one."""


@dataclass(frozen=True)
class Store:
    """A place named by a URI, on the backend of its scheme.

    Pickles without secrets and without connections: options keep their `${ENV_NAME}` references.

    Raises, on every method:
        LocationNotFoundError: The bucket, folder or file does not exist.
        CredentialsError: The store refused or found no credentials.
        StorageUnavailableError: No connection, or the store failed. Worth a retry.
    """

    uri: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def backend(self) -> Backend:
        """What does the work. Made anew in each process."""
        return find_backend(self.scheme)(self.uri, self.options)

    def __getstate__(self) -> dict[str, Any]:
        """All but the backend."""
        return {name: value for name, value in self.__dict__.items() if name != "backend"}

    @property
    def scheme(self) -> str:
        """Scheme of the URI; `file` for a path."""
        return urlsplit(self.uri).scheme if "://" in self.uri else "file"

    @property
    def is_local(self) -> bool:
        """Files have paths that this machine can open."""
        return self.backend.is_local

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do. See `needs_probe` for whether servers are trusted with it."""
        return self.backend.capabilities

    @property
    def is_conditional(self) -> bool:
        """Whether `create` and `replace` notice that somebody else was first."""
        return self.capabilities.can_create and self.capabilities.can_replace

    @property
    def needs_probe(self) -> bool:
        """Servers of this kind differ in whether they honour conditions."""
        return self.backend.needs_probe

    @cached_property
    def root(self) -> str:
        """The path that the backend uses."""
        with translated_errors(self.uri):
            return self.backend.root

    @property
    def url(self) -> str:
        """The absolute location, as other tools open it."""
        return self.backend.url

    @property
    def table_url(self) -> str:
        """The same place in the Delta library's spelling."""
        return self.backend.table_url

    def table_options(self) -> dict[str, str]:
        """Options as the Delta library names them, credentials included: do not store them."""
        with translated_errors(self.url):  # on S3 it looks for credentials
            return self.backend.table_options()

    def sibling(self, suffix: str) -> "Store":
        """The store whose URI is this one's with `suffix` appended to the last part."""
        return Store(self.url.rstrip("/") + suffix, self.options)

    def parents(self) -> "list[Store]":
        """The folders above this one within its bucket or file system, nearest first."""
        return [Store(uri, self.options) for uri in self.backend.parents()]

    def locate(self, path: str) -> str:
        """The full path of `path`, as the backend uses it."""
        return posixpath.join(self.root, path) if path else self.root

    def locate_url(self, path: str) -> str:
        """The full URL of `path`."""
        return posixpath.join(self.url, path) if path else self.url

    # Listing.

    def list_files(self, prefix: str = "", *, placeholders: bool = False) -> list[Entry]:
        """All files below `prefix`, sorted by path; none if it does not exist.

        Args:
            prefix: A folder.
            placeholders: Include objects of an object store whose keys end in `/`.
        """
        with translated_errors(self.locate_url(prefix)):
            return self.backend.list_files(prefix, placeholders=placeholders)

    def list_below(self, names: Collection[str], prefix: str = "") -> list[Entry]:
        """All files below some folders, sorted by path; none if they do not exist.

        Many folders of an object store are listed with all others: one request for 1,000 files.

        Args:
            names: Of the folders.
            prefix: The folder that they are in.
        """
        with translated_errors(self.locate_url(prefix)):
            list_files = self.backend.list_files
            if self.is_local or len(names) <= FOLDERS_LISTED:
                paths = (posixpath.join(prefix, name) for name in names)
                listed = [list_files(path, placeholders=False) for path in paths]
                entries = itertools.chain.from_iterable(listed)
                return sorted(entries, key=lambda entry: entry.path)

            depth = prefix.count("/") + 1 if prefix else 0
            everything = list_files(prefix, placeholders=False)
            return [entry for entry in everything if entry.path.split("/")[depth] in names]

    def list_spools(self) -> list[Entry]:
        """Unfinished local files that killed processes left."""
        return self.list_with_spools()[1]

    def list_with_spools(self) -> tuple[list[Entry], list[Entry]]:
        """All files, and `list_spools`, from one listing."""
        with translated_errors(self.url):
            return self.backend.list_with_spools()

    def list_folders(self, prefix: str = "") -> list[str]:
        """Names of the folders directly below `prefix`, sorted; none if it does not exist."""
        return self.list_names(prefix)[0]

    def list_names(self, prefix: str = "") -> tuple[list[str], list[str]]:
        """Names of the folders and of the files directly below `prefix`, each sorted.

        None if `prefix` does not exist.
        """
        with translated_errors(self.locate_url(prefix)):
            return self.backend.list_names(prefix)

    def has_files(self, prefix: str) -> bool:
        """Whether anything is below the folder `prefix`: one small request."""
        with translated_errors(self.locate_url(prefix)):
            return self.backend.has_files(prefix)

    def check_reachable(self) -> None:
        """Distinguish a bucket or folder that does not exist from one that is empty."""
        with translated_errors(self.url):
            self.backend.check_reachable()

    def describe(self, path: str) -> Entry:
        """Size and version of one file, never from a cache."""
        with translated_errors(self.locate_url(path)):
            return self.backend.describe(path)

    def exists(self, path: str) -> bool:
        """Whether there is such a file, never from a cache."""
        try:
            self.describe(path)
        except LocationNotFoundError:
            return False
        return True

    # Reading.

    def open_input(self, path: str) -> Any:
        """What pyarrow can open: a local path, or a file that reads ranges without read-ahead."""
        with translated_errors(self.locate_url(path)):
            return self.backend.open_input(path)

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to, not including, `end`; fewer if the file ends earlier.

        One request.
        """
        with translated_errors(self.locate_url(path)):
            try:
                return self.backend.read_range(path, start, end)
            except Exception as error:
                if is_beyond_end(error):
                    return b""
                raise

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with translated_errors(self.locate_url(path)):
            return self.backend.read_bytes(path)

    def sha256(self, path: str) -> str:
        """SHA-256 of the whole file, hexadecimal. It is read in blocks."""
        with translated_errors(self.locate_url(path)):
            source = self.backend.open_input(path)
            with Path(source).open("rb") if isinstance(source, str) else source as file:
                return hash_file(file)

    # Writing.

    def open_output(self, path: str) -> BinaryIO:
        """A new file. On an object store it appears, complete, when it is closed."""
        with translated_errors(self.locate_url(path)):
            return self.backend.open_output(path)

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replace the whole file at once: a reader sees the old or the new one."""
        with translated_errors(self.locate_url(path)):
            self.backend.write_bytes(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files. Missing ones are no error."""
        with translated_errors(self.url):
            self.backend.delete(paths)

    def delete_tree(self, prefix: str) -> None:
        """Remove everything below `prefix`."""
        with translated_errors(self.locate_url(prefix)):
            self.backend.delete_tree(prefix)

    # Writing on a condition.

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        """Version and user metadata of one file. None: there is none.

        Local files have no metadata.
        """
        with translated_errors(self.locate_url(path)):
            return self.backend.head(path)

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        """Put a file in the place of `path`, if that still has the version `expected`.

        Args:
            source: Full path of the file, as `locate` gives it, on the same file system or store.
                It stays.
            path: What to replace, below this store.
            expected: Version that `head` gave. None: the file must not exist.
            metadata: Stored with an object. Local files have none.

        Raises:
            ConflictError: It has another version by now.
            StorageError: This kind of store has no conditional requests.
        """
        with translated_errors(self.locate_url(path)):
            self.backend.replace(source, path, expected, metadata)

    def create(self, path: str, data: bytes, *, is_durable: bool = True) -> None:
        """Write a small file that must not exist yet. Of several writers one succeeds.

        Args:
            path: Below this store.
            data: Its content.
            is_durable: It survives a loss of power too.

        Raises:
            ConflictError: It exists.
            StorageError: This kind of store has no conditional requests.
        """
        with translated_errors(self.locate_url(path)):
            self.backend.create(path, data, is_durable=is_durable)

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        """Overwrite a small file if its content still is `expected`.

        Of several writers one succeeds.

        Raises:
            ConflictError: Its content has changed, or it is gone.
            StorageError: This kind of store has no conditional requests.
        """
        with translated_errors(self.locate_url(path)):
            self.backend.swap(path, expected, data)

    # Probing.

    def clock_s(self) -> float:
        """The store's own time, seconds since the epoch: hosts' clocks differ.

        Writes and removes a small file.
        """
        probe = _probe_name()
        self.write_bytes(probe, b"")
        try:
            return self.describe(probe).modified_s
        finally:
            self.delete([probe])

    def check_conditional(self) -> None:
        """Prove that the store refuses a replacement whose condition fails.

        Raises:
            StorageError: It ignores conditions, so two runs could publish over each other.
        """
        if not self.backend.capabilities.can_replace:
            raise unsupported(self.scheme)
        if not self.needs_probe:
            return

        probe, copy = _probe_name(), f"{_probe_name()}-copy"
        self.write_bytes(probe, b"1")
        self.write_bytes(copy, b"2")

        try:
            head = self.head(copy)
            if head is not None and head[0].startswith(WITHOUT_ETAG):
                raise no_etags(self.url, NEEDS_ETAGS)
            self.replace(self.locate(probe), copy, None, {})
        except ConflictError:
            return
        finally:
            self.delete([probe, copy])

        raise StorageError(
            "The store ignores conditions on copies: two runs could publish over each other.",
            self.url,
            expected="412 Precondition Failed",
            found="the copy was made",
            next_step="use output.format: delta, or a store with conditional writes",
        )

    def check_exclusive(self) -> None:
        """Prove that the store refuses to create a file that exists.

        Raises:
            StorageError: It overwrites, so two commits could take the same version of a table.
        """
        probe = _probe_name()

        self.write_bytes(probe, b"1")

        try:
            self.create(probe, b"2")
        except ConflictError:
            return
        finally:
            self.delete([probe])

        raise StorageError(
            "The store ignores conditions on writes: two runs could publish over each other.",
            self.url,
            expected="412 Precondition Failed",
            found="the object was overwritten",
            next_step="use a store with conditional writes",
        )


def _probe_name() -> str:
    return f"probe-{uuid.uuid4().hex}"
