"""What many small files say, remembered in one file.

Reading 10,000 records takes seconds, and reading their index a moment. The listing decides: what
is remembered of a file counts only while the file has the version and size that it had when it was
read. So an index cannot lie, whoever wrote it last and however old it is. If it is lost, damaged or
may not be written, the files themselves are read.
"""

import contextlib
import gzip
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter

from nightscore.errors import ScoringError
from nightscore.ledger.manifest_files import map_records
from nightscore.storage.protocol import NO_VERSION, Entry
from nightscore.storage.store import Store

T = TypeVar("T")

INDEX_VERSION = 1
"""Raised when an index says other things of the same files. Other versions are made anew."""
READ_ANYWAY = 64
"""Up to so many files are read each time. More are remembered."""
SETTLED_S = 2.0
"""Younger files are not remembered. One that is replaced within a tick of the disk's clock keeps
its version."""
COMPRESSION = 1
"""Of zlib, the fastest. The index is a quarter of its text then."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Files that an index may know."""

    entries: Sequence[Entry]
    """As they are listed now."""
    list_again: Callable[[], Sequence[Entry]]
    is_complete: bool
    """The index is about these files and no others."""


Remembered = dict[str, tuple[str, int, Any]]
"""By path: version, size, and what the file says."""


def recall(
    store: Store, index: str, listing: Listing, read: Callable[[Entry], T | None], kind: type[T]
) -> dict[str, T]:
    """What each listed file says, by path, in the order of the listing.

    If more than a few files had to be read, the index is written anew, with all that is known. Of
    several writers the last one wins, and what the others have read is read again.

    Args:
        store: Holds the index.
        index: Its path.
        listing: The files.
        read: Reads one. None: it cannot be read, and is left out.
        kind: Type of what a file says.
    """
    entries = listing.entries
    if len(entries) <= READ_ANYWAY:
        return _read(store, read, entries)

    remembered = _load(store, index, kind)
    known: dict[str, T] = {}
    unknown: list[Entry] = []
    for entry in entries:
        version, size_bytes, content = remembered.get(entry.path, ("", 0, None))
        if (version, size_bytes) == (entry.version, entry.size_bytes):
            known[entry.path] = content
        else:
            unknown.append(entry)

    began_s = time.time()
    fresh = _read(store, read, unknown)

    if len(fresh) > READ_ANYWAY:
        if listing.is_complete:
            remembered = {path: remembered[path] for path in known}
        lasting = _lasting(listing, unknown, fresh, began_s - SETTLED_S)
        if lasting:
            _save(store, index, remembered | lasting, kind)

    contents = known | fresh
    return {entry.path: contents[entry.path] for entry in entries if entry.path in contents}


def _read(
    store: Store, read: Callable[[Entry], T | None], entries: Sequence[Entry]
) -> dict[str, T]:
    contents = map_records(store, read, entries)
    return {
        entry.path: content
        for entry, content in zip(entries, contents, strict=True)
        if content is not None
    }


def _lasting(
    listing: Listing, unknown: Sequence[Entry], fresh: Mapping[str, Any], settled_s: float
) -> Remembered:
    """What can be remembered of files that were just read, and not replaced meanwhile."""
    listed_again = {entry.path: entry for entry in listing.list_again()}

    lasting: Remembered = {}
    for entry in unknown:
        content = fresh.get(entry.path)
        is_same = listed_again.get(entry.path) == entry
        if content is not None and is_same and _is_settled(entry, settled_s):
            lasting[entry.path] = (entry.version, entry.size_bytes, content)

    return lasting


def _is_settled(entry: Entry, settled_s: float) -> bool:
    """Whether other content of the file will have another version."""
    return entry.version != NO_VERSION and entry.modified_s < settled_s


def _load(store: Store, index: str, kind: type[Any]) -> Remembered:
    """The stored index. Empty if there is none that can be read."""
    try:
        version, remembered = _adapter(kind).validate_json(gzip.decompress(store.read_bytes(index)))
    except (ScoringError, OSError, EOFError, ValueError, zlib.error):
        return {}
    return remembered if version == INDEX_VERSION else {}


def _save(store: Store, index: str, remembered: Mapping[str, Any], kind: type[Any]) -> None:
    """Write the index where this process may."""
    text = _adapter(kind).dump_json((INDEX_VERSION, dict(remembered)), exclude_defaults=True)
    with contextlib.suppress(ScoringError, OSError):
        store.write_bytes(index, gzip.compress(text, COMPRESSION, mtime=0))


def _adapter(kind: type[Any]) -> TypeAdapter[tuple[int, Remembered]]:
    return TypeAdapter(tuple[int, dict[str, tuple[str, int, kind]]])  # type: ignore[valid-type]
