"""The one door to files and buckets: list, open, write whole, replace on condition.

Secrets are resolved here, in each process that needs them, and leave this module only as arguments to the
libraries that open connections.
"""

import contextlib
import functools
import hashlib
import json
import os
import posixpath
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import fsspec

from nightscore.errors import (
    ConflictError,
    InvalidJobError,
    LocationNotFoundError,
    ScoringError,
    StorageError,
)
from nightscore.schemas.masking import remember
from nightscore.storage.errors import (
    BEYOND_CODES,
    code_of,
    is_store_error,
    mapped,
    may_pass,
    no_etags,
)
from nightscore.storage.options import (
    AZURE_SCHEMES,
    GOOGLE_SCHEMES,
    S3_SCHEMES,
    account_of,
    fsspec_options,
    table_options,
)

__all__ = [
    "Entry",
    "HashingFile",
    "Store",
    "env_names",
    "explained",
    "is_store_error",
    "resolve_env",
]

UPLOAD_BLOCK_BYTES = 8 << 20
"""Size of the parts of an S3 upload: held in memory once per open file; S3's least is 5 MiB."""

SPOOL = re.compile(r"\..+\.[0-9a-f]{32}")
"""Name of a local file that is not in its place yet, or never came there: readers' globs and our listings skip it."""
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
NEEDS_ETAGS = "an object cannot be replaced on the condition that nobody else has done so"
NO_VERSION = "0.0"
"""Of a file whose store tells neither an ETag nor a time."""
_MODIFIED = "modified "
"""Begins the version of an object whose store gave no ETag: it can be compared, but is no condition."""


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
    """What a kind of store can do, beyond reading, writing and listing: the promises of the outputs rest on it."""

    can_create: bool
    """`create`: of several who create the same file, one succeeds. Claims rest on it."""
    can_replace: bool
    """`replace`: a file is replaced only as long as nobody else has done so. One object a partition rests on it."""
    can_commit: bool
    """The table library knows the store, and of several commits of the same version there, one succeeds."""


FULL = Capabilities(can_create=True, can_replace=True, can_commit=True)
TABLES_ONLY = Capabilities(can_create=False, can_replace=False, can_commit=True)
"""fsspec has no conditional requests for these stores; delta-rs has its own for commits."""
FILES_ONLY = Capabilities(can_create=False, can_replace=False, can_commit=False)


@dataclass(frozen=True)
class Store:
    """A place named by a URI. Pickles without secrets: options keep their `${ENV_NAME}` references.

    Raises, on every method:
        LocationNotFoundError: The bucket, folder or file does not exist.
        CredentialsError: The store refused or found no credentials.
        StorageUnavailableError: No connection, or the store failed; worth a retry.
    """

    uri: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        return urlsplit(self.uri).scheme if "://" in self.uri else "file"

    @property
    def is_local(self) -> bool:
        return self.scheme == "file"

    @property
    def is_s3(self) -> bool:
        return self.scheme in S3_SCHEMES

    @property
    def capabilities(self) -> Capabilities:
        """By the scheme; whether an S3 server really keeps to its conditions is probed before it is relied on."""
        if self.is_local or self.is_s3:
            return FULL
        return TABLES_ONLY if self.scheme in (*AZURE_SCHEMES, *GOOGLE_SCHEMES) else FILES_ONLY

    @property
    def is_conditional(self) -> bool:
        """Whether `create` and `replace` can tell that somebody else was first."""
        return self.capabilities.can_create and self.capabilities.can_replace

    @functools.cached_property
    def root(self) -> str:
        """The path that the file system knows."""
        if self.is_local:
            path = unquote(urlsplit(self.uri).path) if "://" in self.uri else self.uri
            return str(Path(path).absolute())
        return str(self.fs._strip_protocol(self.uri)).rstrip("/")

    @property
    def url(self) -> str:
        """Absolute: what other tools open."""
        return self.root if self.is_local else self.uri.rstrip("/")

    @property
    def table_url(self) -> str:
        """The same place as the table library spells it."""
        return self.url.replace("gcs://", "gs://", 1) if self.scheme == "gcs" else self.url

    @property
    def fs(self) -> Any:
        """The fsspec file system of this process."""
        options = json.dumps(dict(self.options), sort_keys=True)
        with explained(self.url if self.is_local else self.uri):
            return _filesystem(self.scheme, account_of(self.scheme, self.uri), options, os.getpid())

    def sibling(self, suffix: str) -> "Store":
        """The store whose URI is this one's with `suffix` appended to the last part."""
        return Store(self.url.rstrip("/") + suffix, self.options)

    def locate(self, path: str) -> str:
        """The full path of `path`, as the file system knows it."""
        return posixpath.join(self.root, path) if path else self.root

    def locate_url(self, path: str) -> str:
        """The full URL of `path`."""
        return posixpath.join(self.url, path) if path else self.url

    def list_files(self, prefix: str = "", *, placeholders: bool = False) -> list[Entry]:
        """All files below `prefix`, sorted by path; none if it does not exist.

        Args:
            prefix: A folder.
            placeholders: Also objects of an object store whose keys end in `/`.
        """
        if self.is_local:
            return [entry for entry in _list_local(Path(self.root), prefix) if not _is_spool(entry)]
        with explained(self.locate_url(prefix)):
            found = self.fs.find(self.locate(prefix), detail=True)
        start = len(self.root) + 1
        files = [info for info in found.values() if info["type"] == "file"]
        if not placeholders:
            files = [info for info in files if not info["name"].endswith("/")]
        return sorted((_entry(info, start) for info in files), key=lambda entry: entry.path)

    def list_spools(self) -> list[Entry]:
        """Local files that a process left when it was killed before they were in their place."""
        return (
            [entry for entry in _list_local(Path(self.root), "") if _is_spool(entry)]
            if self.is_local
            else []
        )

    def list_folders(self, prefix: str = "") -> list[str]:
        """Names of the folders directly below `prefix`, sorted; none if it does not exist."""
        return self.list_names(prefix)[0]

    def list_names(self, prefix: str = "") -> tuple[list[str], list[str]]:
        """Names of the folders and of the files directly below `prefix`, each sorted; none if it does not exist."""
        folders: list[str] = []
        files: list[str] = []
        if self.is_local:
            with (
                explained(self.locate(prefix)),
                contextlib.suppress(FileNotFoundError, NotADirectoryError),
                os.scandir(self.locate(prefix)) as entries,
            ):
                for entry in entries:
                    (folders if _is_folder(entry) else files).append(entry.name)
            return sorted(folders), sorted(files)
        with explained(self.locate_url(prefix)), contextlib.suppress(FileNotFoundError):
            for info in self.fs.ls(self.locate(prefix), detail=True):
                name = posixpath.basename(info["name"].rstrip("/"))
                if info["type"] == "directory":
                    folders.append(name)
                elif not info["name"].endswith("/"):  # the placeholder of the folder itself
                    files.append(name)
        return sorted(folders), sorted(files)

    def has_files(self, prefix: str) -> bool:
        """Whether there is anything below the folder `prefix`: one small request."""
        with explained(self.locate_url(prefix)):
            if self.is_local:
                try:
                    with os.scandir(self.locate(prefix)) as entries:
                        return next(entries, None) is not None
                except (FileNotFoundError, NotADirectoryError):
                    return False
            if not self.is_s3:
                return bool(self.fs.exists(self.locate(prefix)))
            bucket, _, key = self.locate(prefix).partition("/")
            answer = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=1)
            return bool(answer.get("Contents"))

    def parents(self) -> "list[Store]":
        """The folders above this one within its bucket or file system, the nearest first."""
        if self.is_local:
            return [Store(str(folder), self.options) for folder in Path(self.root).parents]
        scheme, separator, rest = self.uri.rstrip("/").partition("://")
        parts = rest.split("/")
        return [
            Store(scheme + separator + "/".join(parts[:i]), self.options)
            for i in range(len(parts) - 1, 0, -1)
        ]

    def check_reachable(self) -> None:
        """Tell a bucket or folder that does not exist from one that is empty."""
        if self.is_local:
            if not Path(self.root).is_dir():
                raise LocationNotFoundError(
                    "No such folder.",
                    self.root,
                    expected="a folder with partitions",
                    found="a file" if Path(self.root).exists() else "nothing",
                    next_step="check input.uri in the job file",
                )
            return
        bucket = self.root.split("/", 1)[0]
        with explained(self.url):
            if self.is_s3:
                self.fs.call_s3("head_bucket", Bucket=bucket)
            elif self.capabilities.can_commit and not self.fs.exists(
                bucket
            ):  # Azure and Google: listings are empty
                raise LocationNotFoundError(
                    "No such bucket.",
                    self.url,
                    found=bucket,
                    next_step="check the URI, or create the bucket",
                )

    def describe(self, path: str) -> Entry:
        """Size and version of one file, asked afresh."""
        if self.is_local:
            with explained(self.locate(path)):
                stat = Path(self.locate(path)).stat()
            return Entry(path, stat.st_size, str(stat.st_mtime_ns), stat.st_mtime)
        with explained(self.locate_url(path)):
            return _entry(self.fs.info(self.locate(path), refresh=True), len(self.root) + 1)

    def exists(self, path: str) -> bool:
        """Whether there is such a file, asked afresh."""
        try:
            self.describe(path)
        except LocationNotFoundError:
            return False
        return True

    def open_input(self, path: str) -> Any:
        """A seekable file for pyarrow: a path where the file is local, else ranged reads without read-ahead."""
        if self.is_local:
            return self.locate(path)
        with explained(self.locate_url(path)):
            return self.fs.open(self.locate(path), "rb", cache_type="none")

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, in one request; fewer where the file ends earlier."""
        with explained(self.locate_url(path)):
            if self.is_local:
                with Path(self.locate(path)).open("rb") as file:
                    file.seek(start)
                    return file.read(end - start)
            try:
                return bytes(self.fs.cat_file(self.locate(path), start=start, end=end))
            except Exception as error:
                if code_of(error) in BEYOND_CODES:
                    return b""
                raise

    def open_output(self, path: str) -> BinaryIO:
        """A new file, whole on an object store once it is closed."""
        with explained(self.locate_url(path)):
            if self.is_local:
                target = Path(self.locate(path))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(
                    missing_ok=True
                )  # never written into: what readers see may be a link to it
                return target.open("wb")
            return self.fs.open(self.locate(path), "wb", block_size=UPLOAD_BLOCK_BYTES)  # type: ignore[no-any-return]

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with explained(self.locate_url(path)):
            if self.is_local:
                return Path(self.locate(path)).read_bytes()
            return bytes(self.fs.cat_file(self.locate(path)))

    def sha256(self, path: str) -> str:
        """Of the whole file, read in pieces."""
        with explained(self.locate_url(path)):
            if self.is_local:
                with Path(self.locate(path)).open("rb") as local:
                    return hashlib.file_digest(local, "sha256").hexdigest()
            digest = hashlib.sha256()
            with self.fs.open(self.locate(path), "rb", block_size=UPLOAD_BLOCK_BYTES) as remote:
                while block := remote.read(UPLOAD_BLOCK_BYTES):
                    digest.update(block)
            return digest.hexdigest()

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replace the whole file at once: a reader sees the old or the new one."""
        with explained(self.locate_url(path)):
            if self.is_local:
                target = Path(self.locate(path))
                target.parent.mkdir(parents=True, exist_ok=True)
                spool = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
                try:
                    with spool.open("wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    spool.replace(target)
                finally:
                    spool.unlink(missing_ok=True)
            else:
                self.fs.pipe_file(self.locate(path), data)

    def delete(self, paths: Sequence[str]) -> None:
        """Remove files; those that are gone already are no error."""
        if self.is_local:
            for path in paths:
                Path(self.locate(path)).unlink(missing_ok=True)
                self._prune(Path(self.locate(path)).parent)
        elif self.is_s3 and paths:
            with explained(self.url):
                self.fs.rm([self.locate(path) for path in paths])
        else:
            for path in paths:
                with explained(self.locate_url(path)), contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self.locate(path))

    def _prune(self, folder: Path) -> None:
        while folder != Path(self.root) and folder.is_dir() and not any(folder.iterdir()):
            with contextlib.suppress(OSError):
                folder.rmdir()
            folder = folder.parent

    def delete_tree(self, prefix: str) -> None:
        """Remove everything below `prefix`."""
        if self.is_local:
            shutil.rmtree(self.locate(prefix), ignore_errors=True)
        else:
            self.delete([entry.path for entry in self.list_files(prefix)])

    # Conditional replacement, for one sealed object a partition. -------------------------------------------

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        """(version, user metadata) of one object, or None if there is none. Local files carry no metadata."""
        if self.is_local:
            try:
                return self.describe(path).version, {}
            except LocationNotFoundError:
                return None
        try:
            with explained(self.locate_url(path)):
                found = self._call("head_object", path)
        except LocationNotFoundError:
            return None
        etag = str(found.get("ETag") or "").strip('"')
        version = etag or f"{_MODIFIED}{found.get('LastModified')}"
        return version, dict(found.get("Metadata", {}))

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        """Put a file in the place of `path`, if that still has the version `expected` (None: is absent).

        Args:
            source: Full path of the file, as `locate` gives it, on the same file system or store; it stays.
            path: What to replace, below this store.
            expected: Version that `head` gave.
            metadata: Kept with an object; local files have none.

        Raises:
            ConflictError: It has another version by now.
            StorageError: This store cannot tell.
        """
        if self.is_local:
            with explained(self.locate_url(path)):
                self._replace_locally(Path(source), path, expected)
            return
        if not self.is_s3:
            raise _unsupported(self.scheme)
        if expected is not None and expected.startswith(_MODIFIED):
            raise no_etags(self.locate_url(path), NEEDS_ETAGS)
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": f'"{expected}"'}
        bucket, _, key = source.partition("/")
        with explained(self.locate_url(path)):
            self._call(
                "copy_object",
                path,
                CopySource={"Bucket": bucket, "Key": key},
                MetadataDirective="REPLACE",
                Metadata=dict(metadata),
                **condition,
            )

    def _replace_locally(self, source: Path, path: str, expected: str | None) -> None:
        import fcntl

        target = Path(self.locate(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            # The folder itself is the lock: it is freed with the process and leaves no file behind.
            fcntl.flock(folder, fcntl.LOCK_EX)
            current = self.head(path)
            if (current and current[0]) != expected:
                raise ConflictError("The object was replaced meanwhile.", str(target))
            spool = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            try:
                os.link(source, spool)
            except OSError:  # a file system without hard links
                shutil.copyfile(source, spool)
            spool.replace(target)
            spool.unlink(
                missing_ok=True
            )  # rename(2) leaves it where both names are the same file already
            os.fsync(folder)
        finally:
            os.close(folder)

    def create(self, path: str, data: bytes, *, is_durable: bool = True) -> None:
        """Write a small file that must not exist yet: of several writers one succeeds.

        Args:
            path: Below this store.
            data: Its content.
            is_durable: It is there after a loss of power too.

        Raises:
            ConflictError: It exists.
            StorageError: This kind of store cannot tell.
        """
        if self.is_local:
            target = Path(self.locate(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            with explained(self.locate_url(path)):
                try:
                    _create_locally(target, data, is_durable=is_durable)
                except FileExistsError as error:
                    raise ConflictError("The file exists already.", str(target)) from error
            return
        if not self.is_s3:
            raise _unsupported(self.scheme)
        with explained(self.locate_url(path)):
            self._call("put_object", path, Body=data, IfNoneMatch="*")

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        """Write over a small file if its content still is `expected`: of several writers one succeeds.

        Raises:
            ConflictError: Its content is another by now, or it is gone.
            StorageError: This kind of store cannot tell.
        """
        if self.is_local:
            with explained(self.locate_url(path)):
                _swap_locally(Path(self.locate(path)), expected, data)
            return
        if not self.is_s3:
            raise _unsupported(self.scheme)
        head = self.head(path)
        if head is not None and head[0].startswith(_MODIFIED):
            raise no_etags(self.locate_url(path), NEEDS_ETAGS)
        try:
            content = None if head is None else self.read_bytes(path)
        except LocationNotFoundError:
            content = None
        if head is None or content != expected:
            raise ConflictError("The object was replaced meanwhile.", self.locate_url(path))
        with explained(self.locate_url(path)):
            self._call("put_object", path, Body=data, IfMatch=f'"{head[0]}"')

    def check_conditional(self) -> None:
        """Prove that the store refuses a replacement whose condition fails.

        Raises:
            StorageError: It ignores conditions, so that two runs could publish over each other.
        """
        if self.is_local:
            return
        if not self.is_s3:
            raise _unsupported(self.scheme)
        probe, copy = f"probe-{uuid.uuid4().hex}", f"probe-{uuid.uuid4().hex}-copy"
        self.write_bytes(probe, b"1")
        self.write_bytes(copy, b"2")
        try:
            head = self.head(copy)
            if head is not None and head[0].startswith(_MODIFIED):
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

    def clock_s(self) -> float:
        """The store's own time, seconds since the epoch: hosts' clocks differ. Writes and removes a small file."""
        probe = f"probe-{uuid.uuid4().hex}"
        self.write_bytes(probe, b"")
        try:
            return self.describe(probe).modified_s
        finally:
            self.delete([probe])

    def check_exclusive(self) -> None:
        """Prove that the store refuses to create an object that exists.

        Raises:
            StorageError: It overwrites, so that two commits could take the same version of a table.
        """
        probe = f"probe-{uuid.uuid4().hex}"
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

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        bucket, _, key = self.locate(path).partition("/")
        return dict(self.fs.call_s3(method, Bucket=bucket, Key=key, **arguments))

    # Options for the table library. --------------------------------------------------------------------

    def table_options(self) -> dict[str, str]:
        """Options as object_store (delta-rs) names them, credentials included: hand them on, never keep them."""
        with explained(self.url):  # on S3 it looks for credentials
            return table_options(self.scheme, self.uri, resolve_env(self.options))


class HashingFile:
    """Counts and hashes what is written, so that a checksum costs no second reading."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._hash.update(view)
        self.size_bytes += view.nbytes
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        pass

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Make it durable: fsync on a disk, complete the upload on an object store."""
        if self.closed:
            return
        self.closed = True
        self._file.flush()
        with contextlib.suppress(AttributeError, OSError):
            os.fsync(self._file.fileno())
        self._file.close()

    def abort(self) -> None:
        """Close without completing an upload."""
        if not self.closed:
            self.closed = True
            discard = getattr(self._file, "discard", None)
            with contextlib.suppress(Exception):
                if discard is not None:
                    discard()
                else:
                    self._file.close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def resolve_env(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with each `${ENV_NAME}` replaced by the variable's value.

    Raises:
        InvalidJobError: Variables are not set; all of them are named.
    """
    missing: set[str] = set()

    def replaced(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            missing.add(match[1])
        return value or ""

    def resolved(value: Any) -> Any:
        if isinstance(value, str):
            return _REFERENCE.sub(replaced, value)
        if isinstance(value, Mapping):
            return {key: resolved(item) for key, item in value.items()}
        return value

    found = {key: resolved(value) for key, value in options.items()}
    if missing:
        raise InvalidJobError(
            "The job's storage_options name environment variables that are not set.",
            problems=[f"${{{name}}}" for name in sorted(missing)],
            next_step="export them before running, or correct their names in the job file",
        )
    remember(found)
    return found


def env_names(options: Mapping[str, Any]) -> set[str]:
    """Names of the environment variables that options refer to."""
    found: set[str] = set()
    for value in options.values():
        if isinstance(value, str):
            found |= set(_REFERENCE.findall(value))
        elif isinstance(value, Mapping):
            found |= env_names(value)
    return found


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn the libraries' errors into ours, once."""
    try:
        yield
    except ScoringError:
        raise
    except Exception as error:
        failure = mapped(error, where)
        if failure is None:
            raise
        raise failure from error


@functools.lru_cache(maxsize=32)
def _filesystem(scheme: str, account: str, options: str, _pid: int) -> Any:
    resolved = fsspec_options(scheme, account, resolve_env(json.loads(options)))
    try:
        found = fsspec.filesystem(
            scheme, skip_instance_cache=True, use_listings_cache=False, **resolved
        )
    except ImportError as error:
        raise InvalidJobError(
            f"No file system for {scheme}:// can be opened.",
            found=str(error).splitlines()[0],
            next_step="install the fsspec package of that store",
        ) from error
    except (TypeError, ValueError) as error:
        raise InvalidJobError(
            f"No file system for {scheme}:// can be opened.",
            found=str(error).splitlines()[0],
            next_step="check the URI's scheme, and storage_options in the job file",
        ) from error
    if scheme in S3_SCHEMES:
        import s3fs.core

        s3fs.core.set_custom_error_handler(may_pass)
    return found


def _unsupported(scheme: str) -> StorageError:
    return StorageError(
        f"On {scheme}:// nightscore has no conditional requests: of two writers nobody could say who was first.",
        expected="a local folder, s3:// or s3a://",
        found=f"{scheme}://",
        next_step="use output.format: delta on Azure and Google, or write to another output.uri",
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or to where this process may not look
        return False


def _list_local(root: Path, prefix: str) -> list[Entry]:
    found = []
    for folder, _, names in os.walk(root / prefix, followlinks=True):
        below = Path(folder).relative_to(root).as_posix()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                stat = os.stat(f"{folder}/{name}")  # noqa: PTH116 (a partition may have 100,000 files)
                relative = name if below == "." else f"{below}/{name}"
                found.append(Entry(relative, stat.st_size, str(stat.st_mtime_ns), stat.st_mtime))
    return sorted(found, key=lambda entry: entry.path)


def _create_locally(target: Path, data: bytes, *, is_durable: bool) -> None:
    """The file appears with its content: half of a decision or of a claim would bar the way for ever."""
    spool = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with spool.open("wb") as file:
            file.write(data)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        try:
            os.link(spool, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with target.open("xb") as file:
                file.write(data)
    finally:
        spool.unlink(missing_ok=True)


def _swap_locally(target: Path, expected: bytes, data: bytes) -> None:
    import fcntl

    conflict = ConflictError("The object was replaced meanwhile.", str(target))
    try:
        folder = os.open(target.parent, os.O_RDONLY)
    except FileNotFoundError:
        raise conflict from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # freed with the process; leaves no file behind
        try:
            content = target.read_bytes()
        except FileNotFoundError:
            raise conflict from None
        if content != expected:
            raise conflict
        spool = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            spool.write_bytes(data)
            spool.replace(target)
        finally:
            spool.unlink(missing_ok=True)
    finally:
        os.close(folder)


def _is_spool(entry: Entry) -> bool:
    return SPOOL.fullmatch(posixpath.basename(entry.path)) is not None


def _entry(info: Mapping[str, Any], start: int) -> Entry:
    modified = next(
        (info[k] for k in ("LastModified", "mtime", "created", "last_modified") if info.get(k)), 0.0
    )
    stamp = modified.timestamp() if hasattr(modified, "timestamp") else float(modified or 0)
    version = next(
        (str(info[key]) for key in ("ETag", "etag", "md5Hash", "md5") if info.get(key)),
        str(modified),
    )
    return Entry(str(info["name"])[start:], int(info["size"]), version.strip('"'), stamp)
