"""Finds partitions and their files."""

import datetime as dt
import difflib
import posixpath
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from nightscore.errors import InputChangedError, InvalidJobError, PartitionNotFoundError
from nightscore.inputs.files import check_choice, choose_files
from nightscore.inputs.input_folders import (
    InputFolders,
    folders_by_value,
    folders_of,
    list_input,
)
from nightscore.inputs.layouts import no_partitions
from nightscore.inputs.listing import list_all, list_each
from nightscore.inputs.tables import check_links, check_listing
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import (
    NULL_VALUE,
    Partition,
    encode_folder,
    parse_time,
    show_value,
)
from nightscore.schemas.text import is_utf8
from nightscore.storage.store import Store

MAX_VALUE_BYTES = 200
BYTES_PER_VALUE = 500
"""In the run cache, about."""


def parse_value(text: str) -> str | None:
    """A partition value as a user types it; None for Hive's default partition.

    Raises:
        InvalidJobError: It could not be a folder's name on every store.
    """
    n_bytes = len(quote(text, safe="", errors="surrogateescape").encode())
    is_possible = is_utf8(text) and "\x00" not in text and text not in (".", "..")
    if not (is_possible and 1 <= n_bytes <= MAX_VALUE_BYTES):
        raise InvalidJobError(
            "Invalid partition value.",
            expected=f"1 to {MAX_VALUE_BYTES} bytes (percent-encoded) of UTF-8, without NUL, "
            "not '.' or '..'",
            found=repr(text[:80]),
            next_step="give the value of a partition, such as 2024-02-29; `nightscore partitions` "
            "lists them",
        )

    if text == NULL_VALUE:
        return None

    return text


def list_partitions(job: ScoringJob) -> dict[str | None, list[str]]:
    """The folders of each partition value, in the order of partitions.

    A value has several folders if it was percent-encoded in several ways.

    Raises:
        InputError: The input is a table.
        PartitionNotFoundError: The input has another layout.
    """
    return list_input(job).partitions()


def find_partition(workspace: Workspace, value: str | None) -> tuple[Partition, tuple[str, ...]]:
    """The partition with its files in the order of their paths.

    One value may have several folders, since there are several ways to percent-encode it. All of
    them are its input.

    Args:
        workspace: Of the job. Runs that share its run cache list the folders of the input once.
        value: Of the partition; None is Hive's default partition.

    Returns:
        The partition, and the files that `input.files` leaves out.

    Raises:
        PartitionNotFoundError: With the nearest values that exist.
        InputError: It cannot be read completely, or is a table.
    """
    job = workspace.job
    key = ("folders of partitions", job.input.uri)
    known = workspace.run_cache.read_once(key, dict, lambda: _list_folders(job))

    return _find(job, value, known)


def _list_folders(job: ScoringJob) -> tuple[dict[str | None, list[str]], int]:
    """The folders of each value, in no order, and about how many bytes that takes."""
    store = Store(job.input.uri, job.input.storage_options)
    listed = InputFolders(job, *store.list_names())
    known = folders_by_value(job, listed.folders, listed.files)
    if known:
        listed.warn_of_strays()
    return known, BYTES_PER_VALUE * len(known)


def _find(
    job: ScoringJob, value: str | None, known: Mapping[str | None, list[str]]
) -> tuple[Partition, tuple[str, ...]]:
    store = Store(job.input.uri, job.input.storage_options)
    folders = known.get(value, [])
    listing = list_all(store, folders)

    if listing.is_empty:
        # It may have come or gone since the folders were listed. If not, this raises.
        listed_again = list_partitions(job)
        if value not in listed_again:
            raise _not_found(job, value, [show_value(other) for other in listed_again])

        folders = listed_again[value]
        listing = list_all(store, folders)

    where = store.locate_url(folders[0])
    check_listing(listing, where)
    check_links(job, listing)
    choice = choose_files(listing, job.input.files)
    check_choice(choice, where, job.input.files)

    return Partition(job.input.partition_key, value, folders[0], choice.files), choice.left_out


def find_partitions(
    job: ScoringJob,
    values: Iterable[str | None] | None = None,
    listed: InputFolders | None = None,
) -> dict[str | None, Partition]:
    """All partitions of the input, or those of `values` that exist, each listed with its files.

    A partition that cannot be read completely is listed all the same: its own run reports why.

    Args:
        job: Whose input.
        values: Partition values; None: all of the input.
        listed: The folders of the input. None: they are listed now.

    Raises:
        As `list_partitions`.
    """
    if listed is None:
        listed = list_input(job)
    known = listed.partitions() if values is None else listed.partitions_of({*values})

    store = Store(job.input.uri, job.input.storage_options)
    listings = list_each(store, [*known.values()], len(listed.folders))

    partitions: dict[str | None, Partition] = {}
    for value, listing in zip(known, listings, strict=True):
        files = choose_files(listing, job.input.files).files
        partitions[value] = Partition(job.input.partition_key, value, known[value][0], files)

    return partitions


def check_unchanged(job: ScoringJob, planned: Partition) -> None:
    """List the partition again and compare.

    Raises:
        InputChangedError: Files came, went or changed since the plan; all of them are named.
    """
    store = Store(job.input.uri, job.input.storage_options)
    folders, files = store.list_names()
    known = folders_of(job, {planned.value}, folders, files)
    listed, _ = _find(job, planned.value, known)
    before = {file.path: (file.size_bytes, file.version) for file in planned.files}
    after = {file.path: (file.size_bytes, file.version) for file in listed.files}

    problems = []
    for path in sorted(before.keys() | after.keys()):
        if path not in after:
            problems.append(f"{path}: is gone")
        elif path not in before:
            problems.append(f"{path}: is new")
        elif before[path] != after[path]:
            problems.append(f"{path}: changed")

    if problems:
        raise InputChangedError(
            "The input changed while it was read; nothing was published.",
            f"{job.input.uri}/{planned.folder}",
            problems=problems,
            next_step="run again once the writer of the input is done",
        )


def partition_date(job: ScoringJob, value: str | None) -> dt.date | None:
    """The date that a value stands for under the job's partition format, or None."""
    time = parse_time(value, job.input.partition_format)
    if time is None:
        return None
    return time.date()


def _nearest(job: ScoringJob, wanted: str, known: list[str]) -> list[str]:
    """The partitions of the nearest dates, or those that are spelled most like the wanted one."""
    date = partition_date(job, wanted)
    if date is None:
        return difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)

    distances: dict[str, int] = {}
    for value in known:
        other = partition_date(job, value)
        if other is not None:
            distances[value] = abs((other - date).days)

    return sorted(distances, key=distances.__getitem__)[:3]


def _not_found(job: ScoringJob, value: str | None, known: list[str]) -> PartitionNotFoundError:
    wanted = show_value(value)
    near = _nearest(job, wanted, known)

    if not known:
        store = Store(job.input.uri, job.input.storage_options)
        return no_partitions(job, *store.list_names())

    existing = f"1 partition, {known[0]}"
    if len(known) > 1:
        existing = f"{len(known):,} partitions, {known[0]} to {known[-1]}"
        if near:
            existing += f"; near: {', '.join(near)}"

    folder = encode_folder(job.input.partition_key, value)
    return PartitionNotFoundError(
        f"There is no partition {wanted}.",
        job.input.uri,
        expected=f"a folder {posixpath.join(job.input.uri, folder)}/",
        found=existing,
        next_step="check the value and input.partition_key, or wait until the input is written",
    )
