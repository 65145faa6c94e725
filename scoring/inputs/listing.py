"""Lists a partition's folder completely: what cannot be looked at is named, not passed over."""

import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nightscore.storage.errors import translated_errors
from nightscore.storage.protocol import Entry
from nightscore.storage.store import FOLDERS_LISTED, Store

LISTING_THREADS = 16
PER_REQUEST = 1_000
"""Objects that a store lists in one request."""


@dataclass(slots=True)
class Listing:
    """All that is below one or several folders."""

    entries: list[Entry] = field(default_factory=list)
    """Files, sorted by path."""
    problems: dict[str, str] = field(default_factory=dict)
    """Path of what cannot be read to the reason, such as a broken link or a lack of permission."""
    linked: list[str] = field(default_factory=list)
    """Local folders outside the input that links lead to, without links in their paths."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing, readable or not."""
        return not self.entries and not self.problems


def list_all(store: Store, folders: Iterable[str]) -> Listing:
    """All below these folders, hidden names included, by one listing each.

    A folder that does not exist has nothing.
    """
    if store.is_local:
        return _walk_all(store, folders, os.path.realpath(store.root))

    listing = Listing()
    for folder in folders:
        _add_objects(listing, folder, store.list_files(folder, placeholders=True))

    listing.entries.sort(key=lambda entry: entry.path)
    return listing


def list_each(store: Store, groups: Sequence[Sequence[str]], n_folders: int) -> Iterable[Listing]:
    """All below each group of folders, as `list_all` returns it; on a disk when it is asked for.

    On an object store many groups are listed with all that is below the store's root, if that takes
    fewer requests.

    Args:
        store: The input.
        groups: Folders directly below the root, those of a partition together.
        n_folders: Number of folders below the root that hold partitions.
    """
    if store.is_local:
        real_root = os.path.realpath(store.root)
        return (_walk_all(store, folders, real_root) for folders in groups)

    if len(groups) > FOLDERS_LISTED:
        first = list_all(store, groups[0])
        n_per_group = len(first.entries)
        n_requests = n_folders * n_per_group / PER_REQUEST
        if n_requests < len(groups) * max(1, n_per_group / PER_REQUEST):
            return _split(store, groups)

    with ThreadPoolExecutor(LISTING_THREADS) as threads:
        return list(threads.map(lambda folders: list_all(store, folders), groups))


def _split(store: Store, groups: Sequence[Sequence[str]]) -> list[Listing]:
    """List the whole store once, and give each group its own."""
    entries: dict[str, list[Entry]] = {}
    for entry in store.list_files(placeholders=True):
        entries.setdefault(entry.path.partition("/")[0], []).append(entry)

    listings = []
    for folders in groups:
        listing = Listing()
        for folder in folders:
            _add_objects(listing, folder, entries.get(folder, []))
        listing.entries.sort(key=lambda entry: entry.path)
        listings.append(listing)
    return listings


def _walk_all(store: Store, folders: Iterable[str], real_root: str) -> Listing:
    listing = Listing()
    for folder in folders:
        _Walk(store, listing, real_root).enter(folder)

    listing.entries.sort(key=lambda entry: entry.path)
    return listing


def _add_objects(listing: Listing, folder: str, entries: Iterable[Entry]) -> None:
    for entry in entries:
        if entry.path == folder:
            continue  # an object that has the folder's name

        if not entry.path.endswith("/"):
            listing.entries.append(entry)
        elif entry.size_bytes:
            problem = f"is an object of {entry.size_bytes:,} bytes whose key ends in /"
            listing.problems[entry.path] = problem


class _Walk:
    """A walk below one local folder, through links.

    Each folder knows those above it, so that a link cannot lead in a circle.
    """

    def __init__(self, store: Store, listing: Listing, real_root: str) -> None:
        self._root = store.root
        self._real_root = real_root
        self._listing = listing

    def enter(self, folder: str) -> None:
        """Add all below `folder`; nothing if it is a file."""
        try:
            status, is_link = self._look_at(folder)
        except NotADirectoryError:
            return
        except OSError as error:
            self._note(folder, error)
            return

        if not stat.S_ISDIR(status.st_mode):
            return

        waiting: list[tuple[str, bool, tuple[tuple[int, int], ...]]] = [
            (folder, is_link, ((status.st_dev, status.st_ino),))
        ]

        while waiting:
            path, is_link, above = waiting.pop()
            if is_link:
                self._follow(path)

            for entry, identity in self._folders(path):
                below = posixpath.join(path, entry.name)
                if identity in above:
                    self._listing.problems[below] = "is a link to a folder above it"
                    continue

                waiting.append((below, entry.is_symlink(), (*above, identity)))

    def _look_at(self, folder: str) -> tuple[os.stat_result, bool]:
        """What a folder is, and whether its path is a link to it."""
        place = posixpath.join(self._root, folder)
        status = os.lstat(place)
        if not stat.S_ISLNK(status.st_mode):
            return status, False
        return os.stat(place), True  # noqa: PTH116 (a `Path` for each partition takes longer)

    def _folders(self, path: str) -> Iterator[tuple[os.DirEntry[str], tuple[int, int]]]:
        """The folders directly below, each with its device and inode; files are noted."""
        # Files are looked at from their folder: that is a sixth faster than by their whole paths,
        # and a partition may have 100,000 of them.
        try:
            descriptor = os.open(posixpath.join(self._root, path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._note(path, error)
            return

        try:
            yield from self._folders_in(path, descriptor)
        finally:
            os.close(descriptor)

    def _folders_in(
        self, path: str, descriptor: int
    ) -> Iterator[tuple[os.DirEntry[str], tuple[int, int]]]:
        try:
            with os.scandir(descriptor) as listed:
                entries = list(listed)
        except OSError as error:
            self._note(path, error)
            return

        prefix = f"{path}/" if path else ""
        files = self._listing.entries

        for entry in entries:
            below = prefix + entry.name

            try:
                status = entry.stat()
            except OSError as error:
                self._note(below, error)
                continue

            if stat.S_ISREG(status.st_mode):
                version = str(status.st_mtime_ns)
                files.append(Entry(below, status.st_size, version, status.st_mtime))
            elif stat.S_ISDIR(status.st_mode):
                yield entry, (status.st_dev, status.st_ino)
            else:
                self._listing.problems[below] = "is no regular file (a pipe, a socket or a device)"

    def _note(self, path: str, error: OSError) -> None:
        full = posixpath.join(self._root, path)
        is_link = os.path.islink(full)  # noqa: PTH114
        if isinstance(error, FileNotFoundError) and not is_link:
            return  # gone meanwhile: the second listing shows it

        if is_link:
            self._listing.problems[path] = (
                f"is a link to {os.readlink(full)!r}, which cannot be reached"  # noqa: PTH115
            )
        elif isinstance(error, PermissionError):
            self._listing.problems[path] = "may not be read by this process"
        else:
            with translated_errors(full):
                raise error

    def _follow(self, path: str) -> None:
        real = os.path.realpath(posixpath.join(self._root, path))
        if not f"{real}/".startswith(f"{self._real_root}/"):
            self._listing.linked.append(real)
