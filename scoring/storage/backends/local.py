"""Files on a disk of this machine, or on one that several machines share."""

import contextlib
import functools
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from nightscore.errors import ConflictError, LocationNotFoundError
from nightscore.storage.protocol import FULL, Entry, ErrorCodes

SPOOL = re.compile(r"\..+\.[0-9a-f]{32}")
"""Name of a file that is not in its place yet. Listings and readers' globs skip it."""
FOLDER_ATTEMPTS = 20
"""How often a file is written anew because its folder was removed meanwhile."""

Result = TypeVar("Result")


class LocalBackend:
    """A folder. See `Backend`."""

    schemes = ("file",)
    capabilities = FULL
    is_local = True
    needs_probe = False
    error_codes = ErrorCodes()

    def __init__(self, uri: str, options: Mapping[str, Any]) -> None:
        """See `Backend`. A path without scheme is a local folder too."""
        self._uri = uri
        self._options = options

    @cached_property
    def root(self) -> str:
        """The absolute path."""
        path = unquote(urlsplit(self._uri).path) if "://" in self._uri else self._uri
        return _absolute(path, os.getcwd())  # noqa: PTH109 (a key, not a path)

    @property
    def url(self) -> str:
        """The absolute path."""
        return self.root

    @property
    def table_url(self) -> str:
        """The absolute path."""
        return self.root

    def parents(self) -> list[str]:
        """See `Backend`."""
        return [str(folder) for folder in Path(self.root).parents]

    def list_files(self, prefix: str, *, placeholders: bool) -> list[Entry]:
        """See `Backend`. Links are followed; there are no placeholders on a disk."""
        return self._walk(prefix)[0]

    def list_with_spools(self) -> tuple[list[Entry], list[Entry]]:
        """See `Backend`."""
        return self._walk("")

    def list_names(self, prefix: str) -> tuple[list[str], list[str]]:
        """See `Backend`."""
        folders: list[str] = []
        files: list[str] = []
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            os.scandir(self._locate(prefix)) as entries,
        ):
            for entry in entries:
                names = folders if _is_folder(entry) else files
                names.append(entry.name)

        return sorted(folders), sorted(files)

    def has_files(self, prefix: str) -> bool:
        """See `Backend`. An empty folder below counts too."""
        try:
            with os.scandir(self._locate(prefix)) as entries:
                return next(entries, None) is not None
        except (FileNotFoundError, NotADirectoryError):
            return False

    def check_reachable(self) -> None:
        """See `Backend`."""
        if Path(self.root).is_dir():
            return
        raise LocationNotFoundError(
            "No such folder.",
            self.root,
            expected="a folder with partitions",
            found="a file" if Path(self.root).exists() else "nothing",
            next_step="check input.uri in the job file",
        )

    def describe(self, path: str) -> Entry:
        """See `Backend`."""
        # As in `_walk`: a partition may have very many files.
        stat = os.stat(self._locate(path))  # noqa: PTH116
        return Entry(path, stat.st_size, str(stat.st_mtime_ns), stat.st_mtime)

    def open_input(self, path: str) -> str:
        """The full path."""
        return self._locate(path)

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """See `Backend`."""
        n_bytes = end - start
        # As above. Without a buffer a file takes half as many system calls.
        with open(self._locate(path), "rb", buffering=0) as file:  # noqa: PTH123
            if start:
                file.seek(start)
            content = file.read(n_bytes)
            while len(content) < n_bytes and (more := file.read(n_bytes - len(content))):
                content += more
            return content

    def read_bytes(self, path: str) -> bytes:
        """See `Backend`."""
        with open(self._locate(path), "rb") as file:  # noqa: PTH123 (as above)
            return file.read()

    def open_output(self, path: str) -> BinaryIO:
        """See `Backend`. The file is visible while it is written."""
        target = self._path(path)

        def open_new() -> BinaryIO:
            # Never write into an existing file: what readers see may be a link to it.
            target.unlink(missing_ok=True)
            return target.open("wb")

        return _in_folder(str(target), open_new)

    def write_bytes(self, path: str, data: bytes) -> None:
        """See `Backend`."""
        target = self._locate(path)

        def write() -> None:
            with _spool_beside(target) as spool:
                _write(spool, data, is_durable=True)
                os.replace(spool, target)  # noqa: PTH105 (as above)

        _in_folder(target, write)

    def delete(self, paths: Sequence[str]) -> None:
        """See `Backend`. Folders that become empty are removed too."""
        for path in paths:
            target = self._path(path)
            target.unlink(missing_ok=True)
            self._remove_empty(target.parent)

    def delete_tree(self, prefix: str) -> None:
        """See `Backend`."""
        shutil.rmtree(self._locate(prefix), ignore_errors=True)

    def head(self, path: str) -> tuple[str, dict[str, str]] | None:
        """See `Backend`. Local files have no metadata."""
        try:
            return self.describe(path).version, {}
        except FileNotFoundError:
            return None

    def replace(
        self, source: str, path: str, expected: str | None, metadata: Mapping[str, str]
    ) -> None:
        """See `Backend`. The new file is a hard link to the source where that is possible."""
        target = self._locate(path)

        def exchange() -> None:
            with _spool_beside(target) as spool:
                _link_or_copy(source, spool)
                # Locked only now: a folder with a spool in it is not removed by others, who would
                # then lock another folder of the same name.
                with _locked(Path(target).parent) as folder:
                    self._expect_version(path, expected)
                    os.replace(spool, target)  # noqa: PTH105 (as above)
                    os.fsync(folder)

        _in_folder(target, exchange)

    def create(self, path: str, data: bytes, *, is_durable: bool) -> None:
        """See `Backend`.

        The file appears with its content: half of a decision or of a claim would block all others
        for ever.
        """
        target = self._locate(path)

        def link_new() -> None:
            with _spool_beside(target) as spool:
                _write(spool, data, is_durable=is_durable)
                try:
                    _link_exclusively(spool, target, data)
                except FileExistsError as error:
                    raise ConflictError("The file exists already.", target) from error

        _in_folder(target, link_new)

    def swap(self, path: str, expected: bytes, data: bytes) -> None:
        """See `Backend`."""
        target = self._path(path)
        try:
            with _spool_beside(str(target)) as spool:
                _write(spool, data, is_durable=False)
                with _locked(target.parent):
                    if target.read_bytes() != expected:
                        raise _replaced(target)
                    os.replace(spool, target)  # noqa: PTH105 (as above)
        except FileNotFoundError:
            raise _replaced(target) from None

    def table_options(self) -> dict[str, str]:
        """See `Backend`."""
        return {name: str(value) for name, value in self._options.items()}

    def _locate(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _path(self, path: str) -> Path:
        return Path(self._locate(path))

    def _walk(self, prefix: str) -> tuple[list[Entry], list[Entry]]:
        """The files below a folder, and the spools, each sorted by path.

        Folders that may not be read have none. Lists of partitions walk through 10,000 folders, and
        a partition may have 100,000 files: `Path` objects would take longer.
        """
        files: list[Entry] = []
        spools: list[Entry] = []
        waiting = [prefix]

        while waiting:
            folder = waiting.pop()
            start = f"{folder}/" if folder else ""

            for entry in _scan(self._locate(folder)):
                path = start + entry.name
                if _is_folder(entry):
                    waiting.append(path)
                    continue

                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat()
                    listed = spools if _is_spool(entry.name) else files
                    version = str(stat.st_mtime_ns)
                    listed.append(Entry(path, stat.st_size, version, stat.st_mtime))

        return sorted(files, key=_path), sorted(spools, key=_path)

    def _expect_version(self, path: str, expected: str | None) -> None:
        current = self.head(path)
        version = current[0] if current else None
        if version != expected:
            raise _replaced(self._path(path))

    def _remove_empty(self, folder: Path) -> None:
        """Remove the folder if it is empty, then those above it, up to the root."""
        while folder != Path(self.root):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # another process has removed it
            except OSError:
                return  # it has files
            folder = folder.parent


def _is_spool(name: str) -> bool:
    return name.startswith(".") and SPOOL.fullmatch(name) is not None


def _path(entry: Entry) -> str:
    return entry.path


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or to where this process may not look
        return False


@functools.lru_cache(maxsize=64)
def _absolute(path: str, working_folder: str) -> str:
    """The absolute path. Stores of the same few places are made again and again."""
    return str(Path(working_folder, path))


def _in_folder(target: str, write: Callable[[], Result]) -> Result:
    """Write into the folder of a file, which is made where it is missing.

    Whoever deletes the last file of a folder removes the folder, too, and may do so between any two
    steps of a writer: then the writer begins again. `write` leaves nothing behind when it fails.
    """
    for _ in range(FOLDER_ATTEMPTS - 1):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            return write()
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            Path(target).parent.mkdir(parents=True, exist_ok=True)

    return write()


@contextlib.contextmanager
def _spool_beside(target: str) -> Iterator[str]:
    """A new name in the same folder. Whatever has the name at the end is removed."""
    folder, name = os.path.split(target)
    spool = f"{folder}/.{name}.{uuid.uuid4().hex}"
    try:
        yield spool
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(spool)  # noqa: PTH108 (a run writes a dozen small files)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """An exclusive lock on the folder itself: it ends with the process and leaves no file."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(path: str, data: bytes, *, is_durable: bool) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 (as above)
        file.write(data)
        if is_durable:
            file.flush()
            os.fsync(file.fileno())


def _link_or_copy(source: str, spool: str) -> None:
    try:
        os.link(source, spool)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, spool)


def _link_exclusively(spool: str, target: str, data: bytes) -> None:
    """Give the spool its place.

    Raises:
        FileExistsError: The place is taken.
    """
    try:
        os.link(spool, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(target, "xb") as file:  # noqa: PTH123 (as above)
            file.write(data)


def _replaced(target: Path) -> ConflictError:
    return ConflictError("The object was replaced meanwhile.", str(target))


BACKEND = LocalBackend
