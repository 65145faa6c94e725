"""Gives files that are in no partition a place in one, without moving or copying them."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nightscore.errors import InputError
from nightscore.inputs.date_formats import is_date, newest_value, other_dates, recognise_format
from nightscore.inputs.files import shown
from nightscore.inputs.tables import DELTA
from nightscore.operations.project.file_dates import ORDERS, FileDate, dates_in, is_part
from nightscore.operations.project.records import Guess, Layout, Link
from nightscore.outputs.delta_table import current_files
from nightscore.schemas.partition import InputFile, encode_folder, parse_time, show_value
from nightscore.schemas.text import counted
from nightscore.storage.store import Store

DEFAULT_KEY, DEFAULT_FORMAT = "ds", "%Y-%m-%d"
PLACEHOLDER_DAY = "2026-11-24"
"""Shown where it is said how dates are written."""

SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class _Placed:
    """A file and its partition."""

    file: InputFile
    value: str | None
    folder: str
    """The partition's, and those below it."""


def guess_format(values: Sequence[str | None], where: str) -> tuple[str | None, Guess]:
    """The newest of the values of partitions, and the guess of how dates are written.

    Raises:
        InputError: Day and month may be either way round.
    """
    pattern = _order_of_days(values, where) or recognise_format(values)
    stated = pattern or DEFAULT_FORMAT
    newest = newest_value(values, stated)

    reason = f"the newest partition is {show_value(newest)}"
    if pattern is None:
        reason = (
            f"partitions such as {show_value(newest)} are no dates; `run` takes them, `backfill` "
            "and the nightly flow need dates"
        )
    elif odd := other_dates(values, pattern):
        reason += f"; {odd}: backfills and the nightly flow do not see them"

    return newest, Guess("input.partition_format", stated, reason)


def _order_of_days(values: Sequence[str | None], where: str) -> str | None:
    """The format of dates with the year last, if all values are such dates.

    Raises:
        InputError: More than one format fits all of them.
    """
    named = [value for value in values if value is not None]
    fitting = []
    for order, name in ORDERS.items():
        for pattern in (order, order.replace("-", "."), order.replace("-", "_")):
            if named and all(is_date(value, pattern) for value in named):
                fitting.append((pattern, name))

    if len(fitting) < 2:
        return fitting[0][0] if fitting else None

    days = []
    for pattern, name in fitting:
        day = parse_time(named[0], pattern)
        days.append(f"{pattern} ({name}) reads {named[0]} as {day:{DEFAULT_FORMAT}}")

    formats = " or ".join(f"'{pattern}'" for pattern, _ in fitting)
    raise InputError(
        "The dates of the partitions can be read in two ways; nothing was written.",
        where,
        expected="dates with one meaning, such as 2026-11-24",
        found=f"{counted(len(named), 'folder')} that both formats fit",
        problems=days,
        next_step="rename the folders; or leave --data out, and then set input.uri, "
        f"input.partition_key and input.partition_format ({formats}) in the job file",
    )


def link_files(
    store: Store, files: Sequence[InputFile], target: Path, n_left_out: int = 0
) -> Layout:
    """A partition for each date in the names of the files, or one for all of them.

    Args:
        store: Where the files are.
        files: At least one.
        target: Folder of the partitions.
        n_left_out: Other files, which are no Parquet by their names.

    Raises:
        InputError: The names do not say clearly which day each file belongs to.
    """
    dates = dates_in([file.path for file in files])
    days = [date.day for date in dates]
    is_dated = all(days)
    if not is_dated:
        _check_undated(store, files, dates, target)

    reason = "the names of the files have dates"
    if not is_dated:
        day = _last_change(store, files)
        days = [day] * len(files)
        reason = f"the file's name has no date; it was changed on {day}"
        if len(files) > 1:
            reason = f"parts of one data set; the newest was changed on {day}"

    if n_left_out:
        reason += f"; {counted(n_left_out, 'file')} without the ending .parquet left out"

    placed = []
    for file, day in zip(files, days, strict=True):
        placed.append(_Placed(file, day, encode_folder(DEFAULT_KEY, day)))
    layout = _linked(store, DEFAULT_KEY, placed, target, reason)
    return replace(layout, is_dated=is_dated)


def _check_undated(
    store: Store, files: Sequence[InputFile], dates: Sequence[FileDate], target: Path
) -> None:
    """Refuse files that cannot simply be one partition.

    Raises:
        InputError: Some have dates, something like a date, or nothing in common.
    """
    problems, examples = [], []
    n_parts, is_like_dates, folders = 0, False, set()
    for file, date in zip(files, dates, strict=True):
        is_like_dates |= bool(date.day or date.problem)
        n_parts += is_part(file.path)
        folders.add(posixpath.dirname(file.path))
        if not date.day:
            examples.append(posixpath.basename(shown(file.path)))
            problems.append(date.problem or f"{shown(file.path)}: has no date")

    is_one_set = len(folders) == 1 and n_parts == len(files)
    if not is_like_dates and (len(files) == 1 or is_one_set):
        return

    example = f"{examples[0]} to {PLACEHOLDER_DAY}_{examples[0]}"
    folder = f"{target}/{DEFAULT_KEY}={PLACEHOLDER_DAY}/"
    n_more = len(problems) - SHOWN_PROBLEMS
    listed = problems[:SHOWN_PROBLEMS]
    if n_more > 0:
        listed.append(f"and {counted(n_more, 'other file')}")

    raise InputError(
        "The names of the files do not say clearly which day each belongs to; nothing was written.",
        store.url,
        expected=f"a date such as {PLACEHOLDER_DAY} in the name of each file",
        found=f"{len(problems):,} of {counted(len(files), 'file')} without a clear date",
        problems=listed,
        next_step=f"rename them, such as {example}; or move each into "
        f"the folder of its day, such as {folder}, and give --data {target}",
    )


def link_table(store: Store, target: Path) -> Layout:
    """The partitions of a Delta table: the files that its newest version has.

    Raises:
        InputError: It has none, or they cannot be read without its log.
    """
    columns, files = current_files(store)
    if not files:
        raise InputError(
            f"The data are {DELTA} without rows.",
            store.url,
            next_step="give a table that has rows, or a folder of Parquet files",
        )

    listed = {}
    for entry in store.list_files():
        listed[entry.path] = InputFile(entry.path, entry.size_bytes, entry.version)

    if not columns:
        current = [listed[path] for path, _ in files]
        day = _last_change(store, current)
        folder = encode_folder(DEFAULT_KEY, day)
        reason = f"the Delta table has no partitions; it was changed on {day}"
        unparted = [_Placed(file, day, folder) for file in current]
        return replace(
            _linked(store, DEFAULT_KEY, unparted, target, reason), is_dated=False, is_table=True
        )

    key = _date_column(columns, files)
    columns.remove(key)
    columns.insert(0, key)

    placed = []
    for path, values in files:
        folders = [encode_folder(column, values[column]) for column in columns]
        placed.append(_Placed(listed[path], values[key], "/".join(folders)))

    reason = f"the Delta table is partitioned by {', '.join(columns)}; current rows only"
    return _linked(store, key, placed, target, reason)


def _date_column(
    columns: Sequence[str], files: Sequence[tuple[str, Mapping[str, str | None]]]
) -> str:
    """The partition column with dates, or the first one. Others are folders below it."""
    for column in columns:
        if recognise_format([values[column] for _, values in files]) is not None:
            return column
    return columns[0]


def _linked(store: Store, key: str, placed: Sequence[_Placed], target: Path, reason: str) -> Layout:
    """The layout that links make. Of two files of one name, both get numbers."""
    names: Counter[tuple[str, str]] = Counter()
    for one in placed:
        names[one.folder, posixpath.basename(one.file.path)] += 1

    links, values = [], dict[str | None, list[InputFile]]()
    for i, one in enumerate(placed):
        name = posixpath.basename(one.file.path)
        unique = name if names[one.folder, name] == 1 else f"{i:05d}-{name}"
        links.append(Link(Path(store.locate(one.file.path)), f"{one.folder}/{unique}"))
        values.setdefault(one.value, []).append(one.file)

    newest, format_guess = guess_format(list(values), store.url)
    reason += f"; {counted(len(links), 'file')} linked into {target}, where new partitions belong"

    return Layout(
        uri=str(target),
        key=key,
        pattern=format_guess.value,
        newest=newest,
        store=store,
        sample=tuple(values[newest]),
        guesses=(Guess("input.partition_key", key, reason), format_guess),
        links=tuple(links),
    )


def _last_change(store: Store, files: Sequence[InputFile]) -> str:
    """The date, in UTC, on which the newest file was changed."""
    newest_s = max(Path(store.locate(file.path)).stat().st_mtime for file in files)
    return f"{datetime.fromtimestamp(newest_s, UTC):{DEFAULT_FORMAT}}"
