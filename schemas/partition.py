"""A partition, its files and its shards: small records that cross processes."""

import contextlib
import functools
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

NULL_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Hive's folder for rows without a partition value."""
MIN_SHARD_ROWS = 65_536
"""Below this, sharing the work of a usual model costs more than it saves."""
DEFAULT_MAX_PARTITIONS = 400
"""Of a backfill: a year and a month. More than that at once is usually a typing mistake."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One Parquet file, as it was when it was listed."""

    path: str
    """Path below the input's URI as the store has it (percent-encoded), with `/` between the
    parts."""
    size_bytes: int
    version: str
    """ETag, or the time of modification in ns if the store has none. New content changes it."""
    hive: tuple[tuple[str, str | None], ...] = ()
    """Decoded `key=value` folders, from the partition's own downwards. The value is None for
    `__HIVE_DEFAULT_PARTITION__`."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One value of the partition key, with its files in the order of their paths."""

    key: str
    value: str | None
    """Decoded value. None is Hive's default partition, the rows without a value."""
    folder: str
    """The folder's name on the store, such as `ds=2013-07-04`."""
    files: tuple[InputFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive row groups of one file."""

    file: InputFile
    row_groups: tuple[int, ...]
    first_row: int
    """Position of the first row in the file, from 0."""
    n_rows: int
    skip_rows: int = 0
    """Rows of the first row group that belong to another piece."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of parallel work and of retry: pieces of one file, or of several small ones."""

    index: int
    pieces: tuple[Piece, ...]
    n_rows: int
    n_bytes: int
    """Compressed bytes of the needed columns."""
    is_last: bool = False
    """Whether it holds the partition's last rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The most memory that a run holds, in bytes. The sum is checked against the job's limit."""

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
    """Bytes of a remote file, fetched ahead of decoding, per worker. Part of the stream."""
    in_threads: bool = False
    """The workers are threads of one process that share the model. Otherwise each is a process."""

    @property
    def n_processes(self) -> int:
        """Worker processes, without the driver."""
        return 1 if self.in_threads else self.n_workers

    @property
    def total_bytes(self) -> int:
        """Memory of the driver and all workers."""
        processes = self.n_processes * (self.worker_bytes + self.model_bytes)
        return self.driver_bytes + processes + self.n_workers * self.stream_bytes

    @property
    def bytes_per_worker(self) -> int:
        """Memory of one worker that is a process of its own."""
        return self.worker_bytes + self.model_bytes + self.stream_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do. It is known before a row is read."""

    partition: Partition
    fingerprint: str
    n_rows: int
    n_bytes: int
    """Compressed bytes of the needed columns."""
    shards: tuple[Shard, ...]
    cut_for: int
    """Number of workers that the shards were cut for."""
    least_shard_rows: int = MIN_SHARD_ROWS
    """Rows below which no shard was cut: fewer where the model is slow."""
    memory: MemoryPlan
    fallback_reason: str = ""
    """Why the model's own library predicts. Empty: a compiled predictor does."""
    is_unchecked: bool = False
    """This host has not compared the compiled predictor with the library yet: each shard does."""
    extra_columns: tuple[str, ...] = field(default=())
    """Columns of the files that the run does not read."""


ISO_DATE = "%Y-%m-%d"
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def parse_time(value: str | None, pattern: str) -> datetime | None:
    """The time that a value stands for under a job's partition format, or None.

    Of a month it is the first day, of a week its first one.
    """
    if pattern == ISO_DATE and value and len(value) == 10 and value[4] == value[7] == "-":
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)  # `strptime` takes ten times as long

    pattern = pattern.replace("%-", "%")  # `%-d` writes days without a zero; strptime lacks it
    value = value or ""
    first_day = _first_day_of_week(pattern)
    if first_day:
        value, pattern = f"{value} {first_day}", f"{pattern} %w"

    try:
        return datetime.strptime(value, pattern)
    except ValueError:
        return None


def _first_day_of_week(pattern: str) -> str:
    """The number of the day with which weeks begin; empty if the pattern names a day by itself.

    Without a day, `strptime` takes no notice of the week.
    """
    if re.search(r"%[aAwudejxc]", pattern):
        return ""
    if "%V" in pattern or "%W" in pattern:
        return "1"
    return "0" if "%U" in pattern else ""


@functools.lru_cache(maxsize=1 << 16)
def order_of(value: str | None, pattern: str) -> tuple[int, Any, str]:
    """The sort key of a partition value: dates by time, then numbers by size, then other texts.

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
    """The folder that nightscore writes: `key=value`, percent-encoded."""
    encoded_value = NULL_VALUE if value is None else quote(value, safe="")
    return f"{quote(key, safe='')}={encoded_value}"


def hive_of(path: str) -> tuple[tuple[str, str | None], ...]:
    """The decoded `key=value` folders of a file's path."""
    folders = path.split("/")[:-1]
    pairs = [decode_folder(folder) for folder in folders]
    return tuple(pair for pair in pairs if pair)


def decode_folder(name: str) -> tuple[str, str | None] | None:
    """(key, value) of a Hive folder, or None if it is not one."""
    key, equals, value = name.partition("=")
    if not equals or not key:
        return None
    return _decoded(key), None if value == NULL_VALUE else _decoded(value)


def _decoded(text: str) -> str:
    """The text without percent-encoding.

    It stays as it is if it does not decode to UTF-8: two such names would become the same.
    """
    if "%" not in text:
        return text

    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
