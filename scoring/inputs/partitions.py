"""Finds partitions and their files."""

import datetime as dt
import difflib
import logging
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from nightscore.errors import InputChangedError, InvalidJobError, PartitionNotFoundError
from nightscore.inputs.files import check_choice, choose_files, is_hidden, is_named_parquet
from nightscore.inputs.layouts import is_other_layout, no_partitions
from nightscore.inputs.listing import list_all
from nightscore.inputs.tables import check_links, check_listing, check_root
from nightscore.ledger.workspace import Workspace
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.partition import (
    NULL_VALUE,
    Partition,
    decode_folder,
    encode_folder,
    order_of,
    parse_time,
    show_value,
)
from nightscore.schemas.text import is_utf8
from nightscore.storage.store import Store

LISTING_THREADS = 16

logger = logging.getLogger("nightscore")


def parse_value(text: str) -> str | None:
    """A partition value as a user types it; None for Hive's default partition.

    Raises:
        InvalidJobError: It could not be a folder's name on every store.
    """
    if (
        not text
        or "\x00" in text
        or text in (".", "..")
        or len(quote(text, safe="").encode()) > 200
    ):
        raise InvalidJobError(
            "This is no partition value.",
            expected="1 to 200 bytes (percent-encoded), without NUL, not '.' or '..'",
            found=repr(text[:80]),
            next_step="give the value as `nightscore partitions JOB` shows it",
        )
    return None if text == NULL_VALUE else text


def list_partitions(job: ScoringJob) -> dict[str | None, list[str]]:
    """Value to the folders that hold it (several if it was encoded in several ways), in the order of partitions.

    Raises:
        InputError: The input is a table of a format of its own.
        PartitionNotFoundError: It is laid out in another way.
    """
    check_root(Workspace(job))
    store = Store(job.input.uri, job.input.storage_options)
    folders, files = store.list_names()
    if not folders and not files:
        store.check_reachable()

    known = _by_value(job, store, folders, files)
    if not known and is_other_layout(folders, files):
        raise no_partitions(job, folders, files)
    _tell_strays(job, folders, files)
    return dict(
        sorted(known.items(), key=lambda item: order_of(item[0], job.input.partition_format))
    )


def _tell_strays(job: ScoringJob, folders: Sequence[str], files: Sequence[str]) -> None:
    """Warn of what is directly below the input and belongs to no partition."""
    beside = [name for name in files if is_named_parquet(name) and not is_hidden(name)]
    _tell("Files directly below %s belong to no partition and are not read: %s", job, beside)
    unnamed = [name for name in folders if not is_utf8(name)]
    _tell("Folders directly below %s whose names are not UTF-8 are no partitions: %s", job, unnamed)


def _tell(text: str, job: ScoringJob, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(ascii(name) for name in names[:5])
        others = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
        logger.warning(text, job.input.uri, shown + others)


def _by_value(
    job: ScoringJob, store: Store, folders: Sequence[str], files: Sequence[str]
) -> dict[str | None, list[str]]:
    links = [name for name in files if store.is_local and _leads_nowhere(store.locate(name))]
    known: dict[str | None, list[str]] = {}
    for name in sorted([*folders, *links]):
        decoded = decode_folder(name)
        if (
            decoded
            and decoded[0] == job.input.partition_key
            and not is_hidden(name)
            and is_utf8(name)
        ):
            known.setdefault(decoded[1], []).append(name)
    return known


def _leads_nowhere(path: str) -> bool:
    """Whether a path is a link to nothing: as a partition it is one that cannot be read."""
    return os.path.islink(path) and not os.path.exists(path)  # noqa: PTH110, PTH114


def find_partition(workspace: Workspace, value: str | None) -> tuple[Partition, tuple[str, ...]]:
    """The partition with its files in the order of their paths, and the files that `input.files` leaves out.

    One value may have several folders, since there are several ways to percent-encode it: all of them are its input.

    Args:
        workspace: Of the job. Runs that share its run cache list the folders below `input.uri` once.
        value: Of the partition; None is Hive's default partition.

    Raises:
        PartitionNotFoundError: With the nearest values that exist.
        InputError: What is there cannot be read whole, or is a table of a format of its own.
    """
    job = workspace.job
    key = ("folders of partitions", job.input.uri)
    known = workspace.run_cache.read_once(key, dict, lambda: _list_folders(job))
    return _find(job, value, known)


def _list_folders(job: ScoringJob) -> tuple[dict[str | None, list[str]], int]:
    """Value to its folders, in no order, and about how many bytes that takes; warns of what belongs to none."""
    store = Store(job.input.uri, job.input.storage_options)
    folders, files = store.list_names()
    known = _by_value(job, store, folders, files)
    if known:
        _tell_strays(job, folders, files)
    return known, 500 * len(known)


def _find(
    job: ScoringJob, value: str | None, known: Mapping[str | None, list[str]]
) -> tuple[Partition, tuple[str, ...]]:
    store = Store(job.input.uri, job.input.storage_options)
    folders = known.get(value, [])
    listing = list_all(store, folders)
    if (
        listing.is_empty
    ):  # it may have come, or gone, since the folders were listed; if not, this says what is there
        now = list_partitions(job)
        if value not in now:
            raise _not_found(job, value, [show_value(v) for v in now])
        folders = now[value]
        listing = list_all(store, folders)

    where = store.locate_url(folders[0])
    check_listing(listing, where)
    check_links(job, listing)
    choice = choose_files(listing, job.input.files)
    check_choice(choice, where, job.input.files)
    return Partition(job.input.partition_key, value, folders[0], choice.files), choice.left_out


def find_partitions(
    job: ScoringJob, values: Iterable[str | None] | None = None
) -> dict[str | None, Partition]:
    """All partitions of the input, or those of `values` that exist, each listed with its files.

    One that cannot be read whole is listed with what is in the way: its own run says what that is.

    Raises:
        As `list_partitions`.
    """
    known = list_partitions(job)
    wanted = set(known) if values is None else set(values)
    store = Store(job.input.uri, job.input.storage_options)

    def listed(value: str | None) -> Partition:
        choice = choose_files(list_all(store, known[value]), job.input.files)
        return Partition(job.input.partition_key, value, known[value][0], choice.files)

    values = [value for value in known if value in wanted]
    with ThreadPoolExecutor(LISTING_THREADS) as threads:
        return dict(zip(values, threads.map(listed, values), strict=True))


def check_unchanged(job: ScoringJob, planned: Partition) -> None:
    """List the partition again and compare.

    Raises:
        InputChangedError: Files came, went or changed since the plan; all of them are named.
    """
    store = Store(job.input.uri, job.input.storage_options)
    now, _ = _find(job, planned.value, _by_value(job, store, *store.list_names()))
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


def _not_found(job: ScoringJob, value: str | None, known: list[str]) -> PartitionNotFoundError:
    wanted = show_value(value)
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    if not known:
        store = Store(job.input.uri, job.input.storage_options)
        return no_partitions(job, *store.list_names())
    if len(known) == 1:
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
