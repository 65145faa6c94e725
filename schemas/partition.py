"""A partition, its files and the shards that it is cut into: small records that cross processes."""

import functools
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

NULL_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Hive's folder for the rows without a value."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file, as it was when it was listed."""

    path: str
    """Relative to the input's URI, `/` between the parts, as it stands on the store (percent-encoded)."""
    size_bytes: int
    version: str
    """ETag where the store has one, else the time of modification in ns: a change of content changes it."""
    hive: tuple[tuple[str, str | None], ...] = ()
    """Decoded `key=value` folders from the partition's own downwards; None for `__HIVE_DEFAULT_PARTITION__`."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One value of the partition key with the files below it, in the order of their paths."""

    key: str
    value: str | None
    """Decoded; None is Hive's default partition, the rows without a value."""
    folder: str
    """The folder's name on the store, such as `ds=2013-07-04`."""
    files: tuple[InputFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of row groups of one file."""

    file: InputFile
    row_groups: tuple[int, ...]
    first_row: int
    """Position in the file of the first row, counted from 0."""
    n_rows: int
    skip_rows: int = 0
    """Rows of the first row group that belong to another piece."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of parallel work and of retry: pieces of one or, where they are small, several files."""

    index: int
    pieces: tuple[Piece, ...]
    n_rows: int
    n_bytes: int
    """Compressed bytes of the needed columns."""
    is_last: bool = False
    """It holds the partition's last rows."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a run will hold in memory at most, in bytes; the sum is checked against the job's limit."""

    n_workers: int
    batch_rows: int
    driver_bytes: int
    worker_bytes: int
    """Interpreter and libraries of one process."""
    model_bytes: int
    """One copy of the model and its libraries, per process."""
    stream_bytes: int
    """Batches, pages and buffers in flight, per worker."""
    prefetch_bytes: int = 0
    """Of a remote file, fetched before they are decoded, per worker; part of the stream."""
    in_threads: bool = False
    """All workers are threads of one process, and share the model; else each is a process."""

    @property
    def n_processes(self) -> int:
        """Besides the driver."""
        return 1 if self.in_threads else self.n_workers

    @property
    def total_bytes(self) -> int:
        """Driver and all workers."""
        processes = self.n_processes * (self.worker_bytes + self.model_bytes)
        return self.driver_bytes + processes + self.n_workers * self.stream_bytes

    @property
    def bytes_per_worker(self) -> int:
        """Of one worker that is a process of its own."""
        return self.worker_bytes + self.model_bytes + self.stream_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, known before a row is read."""

    partition: Partition
    fingerprint: str
    n_rows: int
    n_bytes: int
    """Compressed bytes of the needed columns."""
    shards: tuple[Shard, ...]
    cut_for: int
    """Number of workers that the shards were cut for."""
    memory: MemoryPlan
    library_because: str = ""
    """Why the model's own library predicts; empty: a compiled predictor does."""
    is_unchecked: bool = False
    """Nobody on this host has compared the compiled predictor with the library's own: each shard does."""
    extra_columns: tuple[str, ...] = field(default=())
    """Columns that the files have and nobody asked for."""


NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def parse_time(value: str | None, pattern: str) -> datetime | None:
    """The time that a value stands for under a job's partition format; None: it is none."""
    try:
        return datetime.strptime(
            value or "", pattern.replace("%-", "%")
        )  # `%-d` writes days without a zero
    except ValueError:
        return None


@functools.lru_cache(maxsize=1 << 16)
def order_of(value: str | None, pattern: str) -> tuple[int, Any, str]:
    """What partition values are sorted by: dates of the format by time, then numbers by size, then other texts.

    Hive's default partition comes last.
    """
    if value is None:
        return (3, "", "")
    if (time := parse_time(value, pattern)) is not None:
        return (0, time.replace(tzinfo=None), value)
    if NUMBER.fullmatch(value):
        return (1, float(value), value)
    return (2, value, value)


def show_value(value: str | None) -> str:
    """A partition value as a user types it."""
    return NULL_VALUE if value is None else value


def encode_folder(key: str, value: str | None) -> str:
    """The folder's name that we write: `key=value`, percent-encoded."""
    return f"{quote(key, safe='')}={NULL_VALUE if value is None else quote(value, safe='')}"


def hive_of(path: str) -> tuple[tuple[str, str | None], ...]:
    """The decoded `key=value` folders of a file's path."""
    return tuple(pair for pair in map(decode_folder, path.split("/")[:-1]) if pair)


def decode_folder(name: str) -> tuple[str, str | None] | None:
    """(key, value) of a Hive folder, or None if it is not one."""
    key, equals, value = name.partition("=")
    if not equals or not key:
        return None
    return _decoded(key), None if value == NULL_VALUE else _decoded(value)


def _decoded(text: str) -> str:
    """What percent-encoding stands for; as it is where that is no UTF-8: two such names would become the same."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
