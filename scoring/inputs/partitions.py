"""Finds partitions and their files, and says what they were with a fingerprint."""

import datetime as dt
import difflib
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from schemas.job import ScoringJob
from schemas.partition import (
    NULL_VALUE,
    InputFile,
    Partition,
    decode_folder,
    encode_folder,
    hive_of,
    order_of,
    parse_time,
    show_value,
)
from scoring.errors import InputChangedError, InputError, InvalidJobError, PartitionNotFoundError
from scoring.storage import Entry, Store

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
ENGINE_VERSION = "1"
"""Part of every fingerprint: raised when the engine would write other predictions for the same input."""

LISTING_THREADS = 16


def parse_value(text: str) -> str | None:
    """A partition value as a user types it; None for Hive's default partition.

    Raises:
        InvalidJobError: It could not be a folder's name on every store.
    """
    if not text or "\x00" in text or text in (".", "..") or len(quote(text, safe="").encode()) > 200:
        raise InvalidJobError(
            "This is no partition value.",
            expected="1 to 200 bytes (percent-encoded), without NUL, not '.' or '..'",
            found=repr(text[:80]),
            next_step="give the value as `nightscore partitions JOB` shows it",
        )
    return None if text == NULL_VALUE else text


def is_hidden(name: str) -> bool:
    """Temporary or private by the convention of Hive and Spark: `.x`, and `_x` unless it is a `_key=value` folder."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def list_partitions(job: ScoringJob) -> dict[str | None, list[str]]:
    """Value to the folders that hold it (several if it was encoded in several ways), in the order of partitions."""
    store = Store(job.input.uri, job.input.storage_options)
    found: dict[str | None, list[str]] = {}
    folders = store.list_folders()
    for folder in folders:
        decoded = decode_folder(folder)
        if decoded and decoded[0] == job.input.partition_key and not is_hidden(folder):
            found.setdefault(decoded[1], []).append(folder)
    if not folders:
        store.check_reachable()
    return dict(sorted(found.items(), key=lambda item: order_of(item[0], job.input.partition_format)))


def find_partition(job: ScoringJob, value: str | None) -> tuple[Partition, tuple[str, ...]]:
    """The partition with its files in the order of their paths, and names of files that are not Parquet.

    Raises:
        PartitionNotFoundError: With the nearest values that exist.
    """
    store = Store(job.input.uri, job.input.storage_options)
    plain = encode_folder(job.input.partition_key, value)
    entries = store.list_files(plain)
    folders = [plain] if entries and _is_plain(value) else None
    if folders is None:
        known = list_partitions(job)
        folders = known.get(value)
        if folders is None:
            raise _not_found(job, value, [show_value(v) for v in known])
        entries = [entry for folder in folders for entry in store.list_files(folder)]
    return _partition(job.input.partition_key, value, folders[0], entries)


def find_partitions(job: ScoringJob, values: Iterable[str | None] | None = None) -> dict[str | None, Partition]:
    """All partitions of the input, or those of `values` that exist, each listed with its files."""
    known = list_partitions(job)
    wanted = set(known) if values is None else set(values)
    store = Store(job.input.uri, job.input.storage_options)

    def listed(value: str | None) -> Partition:
        entries = [entry for folder in known[value] for entry in store.list_files(folder)]
        return _partition(job.input.partition_key, value, known[value][0], entries)[0]

    values = [value for value in known if value in wanted]
    with ThreadPoolExecutor(LISTING_THREADS) as threads:
        return dict(zip(values, threads.map(listed, values), strict=True))


def fingerprint(job: ScoringJob, partition: Partition, model_name: str, version: str, digest: str) -> str:
    """sha256 over everything that decides the predictions: same fingerprint, nothing to do."""
    parts = {
        "engine": ENGINE_VERSION,
        "partition": [partition.key, partition.value],
        "files": [[f.path, f.size_bytes, f.version] for f in partition.files],
        "model": [model_name, version, digest],
        "keys": job.keys.columns,
        "pass_through": job.pass_through,
        "features": job.features,
        "predict": job.predict,
        **({"policy": policy} if (policy := job.policy.model_dump(exclude_defaults=True)) else {}),
        "format": job.output.format,
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def check_unchanged(job: ScoringJob, planned: Partition) -> None:
    """List the partition again and compare.

    Raises:
        InputChangedError: Files came, went or changed since the plan; all of them are named.
    """
    now, _ = find_partition(job, planned.value)
    before = {f.path: (f.size_bytes, f.version) for f in planned.files}
    after = {f.path: (f.size_bytes, f.version) for f in now.files}
    problems = [f"{path}: is gone" for path in before.keys() - after.keys()]
    problems += [f"{path}: is new" for path in after.keys() - before.keys()]
    problems += [f"{p}: changed" for p in before.keys() & after.keys() if before[p] != after[p]]
    if problems:
        raise InputChangedError(
            "The input changed while it was read; nothing was published.",
            f"{job.input.uri}/{planned.folder}",
            problems=sorted(problems),
            next_step="run again once the writer of the input is done",
        )


def partition_date(job: ScoringJob, value: str | None) -> dt.date | None:
    """The date that a value stands for under the job's partition format, or None."""
    time = parse_time(value, job.input.partition_format)
    return None if time is None else time.date()


def _is_plain(value: str | None) -> bool:
    return value is not None and re.fullmatch(r"[A-Za-z0-9_.:-]+", value) is not None and ":" not in value


def _partition(key: str, value: str | None, folder: str, entries: list[Entry]) -> tuple[Partition, tuple[str, ...]]:
    files, ignored = [], []
    for entry in entries:
        parts = entry.path.split("/")
        if any(is_hidden(part) for part in parts):
            continue
        if not parts[-1].endswith(PARQUET_SUFFIXES):
            ignored.append(entry.path)
            continue
        files.append(InputFile(entry.path, entry.size_bytes, entry.version, hive_of(entry.path)))
    if ignored and not files:
        raise InputError(
            "The partition has files, but none is named as Parquet.",
            folder,
            expected=f"names that end in {', '.join(PARQUET_SUFFIXES)}",
            found=", ".join(ignored[:5]),
            next_step="rename the files, or move them away if the partition is meant to be empty",
        )
    files.sort(key=lambda file: file.path)
    return Partition(key, value, folder, tuple(files)), tuple(ignored)


def _not_found(job: ScoringJob, value: str | None, known: list[str]) -> PartitionNotFoundError:
    wanted = show_value(value)
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    if not known:
        found = "no partitions at all"
    elif len(known) == 1:
        found = f"1 partition, {known[0]}"
    else:
        found = f"{len(known):,} partitions, {known[0]} to {known[-1]}" + (
            f"; near: {', '.join(near)}" if near else ""
        )
    return PartitionNotFoundError(
        f"There is no partition {wanted}.",
        job.input.uri,
        expected=f"a folder {posixpath.join(job.input.uri, encode_folder(job.input.partition_key, value))}/",
        found=found,
        next_step="check the value and input.partition_key, or wait until the input is written",
    )
