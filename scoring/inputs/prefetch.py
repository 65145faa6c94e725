"""A remote Parquet file whose bytes are fetched before they are asked for, within a budget.

A request to a store takes tens of milliseconds, however few bytes it asks for. Row groups that fit
are fetched whole, the next one while one is decoded. Of larger ones, each column is read ahead by a
block.
"""

import bisect
import io
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

BLOCK_BYTES = 1 << 20
"""Bytes of a column that are read ahead. Smaller gaps between two columns are fetched with them."""
PART_BYTES = 8 << 20
"""Bytes of one request at most: several requests fill a connection that one does not."""
THREADS = 8


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a file."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GroupRanges:
    """What is needed of a row group."""

    columns: tuple[Range, ...]
    """One column chunk each."""

    @property
    def n_bytes(self) -> int:
        """Bytes of all columns."""
        return sum(part.end - part.start for part in self.columns)

    def parts(self) -> list[Range]:
        """Requests for all of it, in ascending order."""
        merged: list[Range] = []
        for column in sorted(self.columns, key=lambda part: part.start):
            if merged and column.start - merged[-1].end <= BLOCK_BYTES:
                merged[-1] = Range(merged[-1].start, max(merged[-1].end, column.end))
            else:
                merged.append(column)

        requests = []
        for part in merged:
            for start in range(part.start, part.end, PART_BYTES):
                requests.append(Range(start, min(start + PART_BYTES, part.end)))

        return requests


def group_ranges(metadata: Any, group: int, names: Sequence[str]) -> GroupRanges:
    """The bytes of a row group's columns.

    Args:
        metadata: pyarrow's, of the file.
        group: The row group.
        names: Top-level columns.
    """
    wanted = frozenset(names)
    row_group = metadata.row_group(group)
    chunks = [row_group.column(place) for place in range(row_group.num_columns)]
    ranges = []

    for chunk in chunks:
        path = chunk.path_in_schema
        if path not in wanted and path.split(".")[0] not in wanted:
            continue

        offsets = (chunk.dictionary_page_offset, chunk.data_page_offset)
        start = min(offset for offset in offsets if offset)
        ranges.append(Range(start, start + chunk.total_compressed_size))

    return GroupRanges(tuple(ranges))


class PrefetchedFile(io.RawIOBase):
    """What pyarrow reads from, in one thread. Unforeseen bytes are fetched when they are read."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, budget_bytes: int) -> None:
        """Fetch nothing yet.

        Args:
            fetch: Gives the bytes from one position to another.
            size: Bytes of the file.
            budget_bytes: Bytes that may be held of two row groups.
        """
        self._fetch, self._size, self._budget = fetch, size, budget_bytes
        self._position = 0
        self._groups: list[GroupRanges] = []
        self._begun = -1
        self._held: dict[Range, Future[bytes]] = {}
        self._starts: list[tuple[int, Range]] = []
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")

    def expect(self, groups: Sequence[GroupRanges]) -> None:
        """Row groups that will be read, in this order."""
        self._groups = list(groups)

    def begin(self, place: int) -> None:
        """Read a row group from now on: release the ones before, and fetch the next."""
        wanted: set[Range] = set()
        for group in self._groups[place : place + 2]:
            if 2 * group.n_bytes <= self._budget:
                wanted.update(group.parts())

        self._begun = place
        for part in self._held.keys() - wanted:
            del self._held[part]
        for part in sorted(wanted - self._held.keys(), key=lambda part: part.start):
            self._start(part)

        self._index()

        group = self._groups[place]
        if 2 * group.n_bytes > self._budget:
            for column in group.columns:
                self._ahead(column.start)

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read(self, size: int = -1) -> Any:
        """Bytes from the position on, in whatever object they are held."""
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        content = self._bytes(self._position, end)
        self._position = end
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """See `io.RawIOBase`."""
        return self._position

    def size(self) -> int:
        """In bytes: pyarrow asks."""
        return self._size

    def seekable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def readable(self) -> bool:
        """See `io.RawIOBase`."""
        return True

    def close(self) -> None:
        """Fetch nothing more, and wait for what is under way."""
        if not self.closed:
            self._threads.shutdown(cancel_futures=True)
            self._held.clear()
        super().close()

    def _bytes(self, start: int, end: int) -> Any:
        pieces: list[Any] = []
        while start < end:
            part = self._part_at(start)
            if part is None:
                stop = self._next_start(start, end)
                pieces.append(self._fetched(start, stop))
            else:
                stop = min(end, part.end)
                view = memoryview(self._held[part].result())
                pieces.append(view[start - part.start : stop - part.start])
                self._release(part, stop)

            start = stop

        if len(pieces) == 1:
            return pa.py_buffer(pieces[0])

        return b"".join(pieces)

    def _fetched(self, start: int, end: int) -> bytes:
        content = self._fetch(start, end)
        if len(content) != end - start:
            raise OSError(f"the store gave {len(content)} bytes of {end - start} from {start} on")
        return content

    def _release(self, part: Range, stop: int) -> None:
        """Release a block that was read to its end, once the next block is on its way."""
        group = self._groups[self._begun] if self._begun >= 0 else None
        if group is None or 2 * group.n_bytes <= self._budget:
            return
        self._ahead(part.end)
        if stop == part.end:
            del self._held[part]
            self._index()

    def _ahead(self, start: int) -> None:
        """Fetch a column's next block, if it has one."""
        column = self._column_at(start)
        if column is None:
            return

        block = Range(start, min(start + BLOCK_BYTES, column.end))
        if block not in self._held:
            self._start(block)
            self._index()

    def _column_at(self, position: int) -> Range | None:
        """The column of the row group that is read now, if one is there."""
        for column in self._groups[self._begun].columns:
            if column.start <= position < column.end:
                return column
        return None

    def _start(self, part: Range) -> None:
        self._held[part] = self._threads.submit(self._fetched, part.start, part.end)

    def _index(self) -> None:
        self._starts = sorted((part.start, part) for part in self._held)

    def _part_at(self, position: int) -> Range | None:
        place = bisect.bisect_right(self._starts, position, key=lambda item: item[0]) - 1
        if place < 0:
            return None
        part = self._starts[place][1]
        if position < part.end:
            return part
        return None

    def _next_start(self, start: int, end: int) -> int:
        place = bisect.bisect_right(self._starts, start, key=lambda item: item[0])
        if place < len(self._starts):
            return min(end, self._starts[place][0])
        return end
