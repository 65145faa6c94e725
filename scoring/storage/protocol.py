"""What a storage backend is: the protocol, its capabilities, and the records it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Protocol

NO_VERSION = "0.0"
"""Version of a file whose store reports neither an ETag nor a modification time."""

WITHOUT_ETAG = "modified "
"""Prefix of the version of an object without ETag: it can be compared, but is no condition."""

NEEDS_ETAGS = "an object cannot be replaced on the condition that nobody else has done so"

UPLOAD_BLOCK_BYTES = 8 << 20
"""Size of the parts of an upload. One is held in memory per open file; S3's minimum is 5 MiB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing."""

    path: str
    """Relative to the store's root."""
    size_bytes: int
    version: str
    """ETag, else modification time in ns."""
    modified_s: float
    """Seconds since the epoch, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store can do beyond reading, writing and listing. Outputs rely on it."""

    can_create: bool
    """`create` is exclusive: of several writers of one file, one succeeds. Claims rely on it."""
    can_replace: bool
    """`replace` and `swap` are conditional: they fail if somebody else was first. Parquet
    output relies on it."""
    can_commit: bool
    """The Delta library knows the store, and only one commit per table version succeeds there."""


FULL = Capabilities(can_create=True, can_replace=True, can_commit=True)
TABLES_ONLY = Capabilities(can_create=False, can_replace=False, can_commit=True)
"""fsspec has no conditional requests for these stores. delta-rs has its own for commits."""
FILES_ONLY = Capabilities(can_create=False, can_replace=False, can_commit=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCodes:
    """How a store and its libraries name their errors: by code, HTTP status or type name.

    The libraries are not imported. Which of them are installed depends on where the data is.
    """

    libraries: tuple[str, ...] = ()
    """Top-level packages whose exceptions come from the store."""
    absent: tuple[str, ...] = ()
    """No such bucket, container or file."""
    expired: tuple[str, ...] = ()
    """The credentials are no longer valid."""
    clock: tuple[str, ...] = ()
    """The host's clock is wrong."""
    denied: tuple[str, ...] = ()
    """The credentials are refused."""
    unexplained: tuple[str, ...] = ()
    """A refusal without a reason, most likely of the credentials."""
    denying_types: tuple[str, ...] = ()
    """Names of exception types that mean that credentials are refused or missing."""
    denying_prefixes: tuple[str, ...] = ()
    """Beginnings of the messages of plain `OSError`s that mean the same."""
    busy: tuple[str, ...] = ()
    """Another request is changing the object. Nothing says yet that it has succeeded."""
    precondition: tuple[str, ...] = ()
    """A condition of the request does not hold."""
    beyond_end: tuple[str, ...] = ()
    """The range starts after the end of the file."""
    missing_etag_keys: tuple[str, ...] = ()
    """Argument of the `KeyError` that a library raises if an answer lacks an ETag."""


class Backend(Protocol):
    """One place on one kind of storage.

    A backend raises what its library raises; `Store` translates the errors. It opens no connection
    before the first request. Paths are relative to `root`, and prefixes are folders.
    """

    schemes: ClassVar[tuple[str, ...]]
    """URI schemes that it serves."""
    capabilities: ClassVar[Capabilities]
    is_local: ClassVar[bool]
    """Files have paths that this machine can open."""
    needs_probe: ClassVar[bool]
    """Servers differ: whether they honour conditions is probed before nightscore relies on it."""
    error_codes: ClassVar[ErrorCodes]

    def __init__(self, uri: str, options: Mapping[str, Any]) -> None:
        """Note the place.

        Args:
            uri: The place.
            options: `storage_options` of the job, with `${ENV_NAME}` references.
        """
        ...

    @property
    def root(self) -> str:
        """The path that the library uses for the place."""
        ...

    @property
    def url(self) -> str:
        """The absolute location, as other tools open it."""
        ...

    @property
    def table_url(self) -> str:
        """The place in the Delta library's spelling."""
        ...

    def parents(self) -> list[str]:
        """URIs of the folders above, within the bucket or file system, nearest first."""
        ...

    def list_files(self, prefix: str, *, placeholders: bool) -> list[Entry]:
        """All files below `prefix`, sorted by path; none if it does not exist.

        Args:
            prefix: A folder.
            placeholders: Include objects whose keys end in `/`.
        """
        ...

    def list_with_spools(self) -> tuple[list[Entry], list[Entry]]:
        """All files, and the unfinished ones that killed processes left, each sorted by path."""
        ...

    def list_names(self, prefix: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files directly below `prefix`, each sorted."""
        ...

    def has_files(self, prefix: str) -> bool:
        """Whether anything is below `prefix`. At most one small request."""
        ...

    def check_reachable(self) -> None:
        """Raise LocationNotFoundError if the bucket or folder does not exist."""
        ...

    def describe(self, path: str) -> Entry:
        """Size and version of one file, never from a cache."""
        ...

    def open_input(self, path: str) -> Any:
        """A local path, or a seekable file that reads ranges without read-ahead."""
        ...

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to, not including, `end`, in one request."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        ...

    def open_output(self, path: str) -> BinaryIO:
        """A new file. On an object store it appears, complete, when it is closed."""
        ...

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replace the whole file at once: readers see the old or the new one."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files. Missing ones are no error."""
        ...

    def delete_tree(self, prefix: str) -> None:
        """Remove everything below `prefix`."""
        ...

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        """Version and user metadata of one file. None: there is no such file."""
        ...

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        """See `Store.replace`. Called only if `can_replace`."""
        ...

    def create(self, path: str, data: bytes, *, is_durable: bool) -> None:
        """See `Store.create`. Called only if `can_create`."""
        ...

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        """See `Store.swap`. Called only if `can_replace`."""
        ...

    def table_options(self) -> dict[str, str]:
        """Options and credentials as the Delta library (object_store) names them."""
        ...
