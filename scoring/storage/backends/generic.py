"""Any store that fsspec knows: what S3, Azure and Google share, and what others can do."""

import contextlib
import functools
import json
import os
import posixpath
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, BinaryIO, ClassVar
from urllib.parse import urlsplit

from nightscore.errors import InvalidJobError, LocationNotFoundError
from nightscore.storage.env_references import resolve_env
from nightscore.storage.errors import unsupported
from nightscore.storage.protocol import (
    FILES_ONLY,
    UPLOAD_BLOCK_BYTES,
    Capabilities,
    Entry,
    ErrorCodes,
)

_TIME_KEYS = ("LastModified", "mtime", "created", "last_modified")
_VERSION_KEYS = ("ETag", "etag", "md5Hash", "md5")


class FsspecBackend:
    """A place that fsspec opens. See `Backend`.

    A subclass for a new store says how its options are named, and what it can do beyond this.
    """

    schemes: ClassVar[tuple[str, ...]] = ()
    capabilities: ClassVar[Capabilities] = FILES_ONLY
    is_local: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False
    error_codes: ClassVar[ErrorCodes] = ErrorCodes()
    has_buckets: ClassVar[bool] = False
    """A bucket that does not exist lists as empty, so it is looked for."""

    def __init__(self, uri: str, options: Mapping[str, Any]) -> None:
        """See `Backend`."""
        self.uri = uri
        self.options = options
        self.scheme = urlsplit(uri).scheme

    # How a subclass differs.

    @classmethod
    def account_in(cls, uri: str) -> str:
        """The account that a URI names itself. Empty: none."""
        return ""

    @classmethod
    def fsspec_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options as the fsspec file system names them.

        Args:
            account: That the URI names itself. Empty: none.
            options: `storage_options` of the job, without references.

        Raises:
            InvalidJobError: Some are known to neither library. All of them are named.
        """
        return dict(options)

    @classmethod
    def delta_options(cls, account: str, options: Mapping[str, Any]) -> dict[str, str]:
        """The same options as the Delta library names them; see `fsspec_options`."""
        return {name: str(value) for name, value in options.items()}

    @classmethod
    def prepare_library(cls) -> None:
        """Set up the library, after its file system was opened."""

    # The place.

    @cached_property
    def root(self) -> str:
        """The path that the file system uses."""
        return str(self.fs._strip_protocol(self.uri)).rstrip("/")

    @property
    def url(self) -> str:
        """The URI."""
        return self.uri.rstrip("/")

    @property
    def table_url(self) -> str:
        """The URI."""
        return self.url

    @property
    def fs(self) -> Any:
        """The fsspec file system of this process."""
        options = json.dumps(dict(self.options), sort_keys=True)
        backend, account = type(self), self.account_in(self.uri)
        return _open(backend, self.scheme, account, options, os.getpid())  # type: ignore[arg-type]

    def parents(self) -> list[str]:
        """See `Backend`."""
        scheme, separator, rest = self.url.partition("://")
        parts = rest.split("/")
        return [
            scheme + separator + "/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)
        ]

    def table_options(self) -> dict[str, str]:
        """See `Backend`."""
        return self.delta_options(self.account_in(self.uri), resolve_env(self.options))

    # Listing.

    def list_files(self, prefix: str, *, placeholders: bool) -> list[Entry]:
        """See `Backend`."""
        listing = self.fs.find(self._locate(prefix), detail=True)
        files = [info for info in listing.values() if info["type"] == "file"]
        if not placeholders:
            files = [info for info in files if not info["name"].endswith("/")]
        return sorted(map(self._entry, files), key=lambda entry: entry.path)

    def list_with_spools(self) -> tuple[list[Entry], list[Entry]]:
        """See `Backend`. Objects appear complete, so there are no unfinished ones."""
        return self.list_files("", placeholders=False), []

    def list_names(self, prefix: str) -> tuple[list[str], list[str]]:
        """See `Backend`."""
        folders: list[str] = []
        files: list[str] = []
        with contextlib.suppress(FileNotFoundError):
            for info in self.fs.ls(self._locate(prefix), detail=True):
                name = posixpath.basename(info["name"].rstrip("/"))
                if info["type"] == "directory":
                    folders.append(name)
                elif not info["name"].endswith("/"):  # the placeholder of the folder itself
                    files.append(name)

        return sorted(folders), sorted(files)

    def has_files(self, prefix: str) -> bool:
        """See `Backend`."""
        return bool(self.fs.exists(self._locate(prefix)))

    def check_reachable(self) -> None:
        """See `Backend`."""
        bucket = self.root.split("/", 1)[0]
        if not self.has_buckets or self.fs.exists(bucket):
            return
        raise LocationNotFoundError(
            "No such bucket.",
            self.url,
            found=bucket,
            next_step="check the URI, or create the bucket",
        )

    def describe(self, path: str) -> Entry:
        """See `Backend`."""
        return self._entry(self.fs.info(self._locate(path), refresh=True))

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        """See `Backend`. Without metadata, which stores keep in different ways."""
        try:
            return self.describe(path).version, {}
        except FileNotFoundError:
            return None

    # Reading.

    def open_input(self, path: str) -> Any:
        """See `Backend`."""
        return self.fs.open(self._locate(path), "rb", cache_type="none")

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """See `Backend`."""
        return bytes(self.fs.cat_file(self._locate(path), start=start, end=end))

    def read_bytes(self, path: str) -> bytes:
        """See `Backend`."""
        return bytes(self.fs.cat_file(self._locate(path)))

    # Writing.

    def open_output(self, path: str) -> BinaryIO:
        """See `Backend`."""
        file: BinaryIO = self.fs.open(self._locate(path), "wb", block_size=UPLOAD_BLOCK_BYTES)
        return file

    def write_bytes(self, path: str, data: bytes) -> None:
        """See `Backend`."""
        self.fs.pipe_file(self._locate(path), data)

    def delete(self, paths: Sequence[str]) -> None:
        """See `Backend`. One request a file."""
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self._locate(path))

    def delete_tree(self, prefix: str) -> None:
        """See `Backend`."""
        entries = self.list_files(prefix, placeholders=False)
        self.delete([entry.path for entry in entries])

    # On a condition: fsspec has no such requests.

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        """Unsupported."""
        raise unsupported(self.scheme)

    def create(self, path: str, data: bytes, *, is_durable: bool) -> None:
        """Unsupported."""
        raise unsupported(self.scheme)

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        """Unsupported."""
        raise unsupported(self.scheme)

    def _locate(self, path: str) -> str:
        return posixpath.join(self.root, path) if path else self.root

    def _entry(self, info: Mapping[str, Any]) -> Entry:
        times = (info[key] for key in _TIME_KEYS if info.get(key))
        modified: Any = next(times, 0.0)
        is_date = hasattr(modified, "timestamp")
        modified_s = modified.timestamp() if is_date else float(modified)

        versions = (str(info[key]) for key in _VERSION_KEYS if info.get(key))
        version = next(versions, str(modified)).strip('"')

        path = str(info["name"])[len(self.root) + 1 :]
        return Entry(path, int(info["size"]), version, modified_s)


@functools.lru_cache(maxsize=32)
def _open(backend: type[FsspecBackend], scheme: str, account: str, options: str, _pid: int) -> Any:
    """The file system. Each process opens its own: connections do not survive a fork."""
    import fsspec  # a local run needs none

    resolved = backend.fsspec_options(account, resolve_env(json.loads(options)))
    what = f"No file system for {scheme}:// can be opened."

    try:
        fs = fsspec.filesystem(
            scheme, skip_instance_cache=True, use_listings_cache=False, **resolved
        )
    except ImportError as error:
        raise InvalidJobError(
            what,
            found=str(error).splitlines()[0],
            next_step="install the fsspec package of that store",
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidJobError(
            what,
            found=str(error).splitlines()[0],
            next_step="check the URI's scheme, and storage_options in the job file",
        ) from error

    backend.prepare_library()

    return fs


BACKEND = FsspecBackend
