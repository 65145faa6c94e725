"""Gives files that are in no partition a place in one, without moving or copying them."""

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nightscore.errors import InputError
from nightscore.inputs.date_formats import newest_value, recognise_format
from nightscore.inputs.tables import DELTA
from nightscore.operations.project.records import Guess, Layout, Link
from nightscore.outputs.delta_table import current_files
from nightscore.schemas.dates import readings
from nightscore.schemas.partition import InputFile, encode_folder, show_value
from nightscore.schemas.text import counted
from nightscore.storage.store import Store

DEFAULT_KEY, DEFAULT_FORMAT = "ds", "%Y-%m-%d"

_DATE = re.compile(r"(?<!\d)\d{4}([-_./]?)\d{2}\1\d{2}(?!\d)")


@dataclass(frozen=True, slots=True)
class _Placed:
    """A file and its partition."""

    file: InputFile
    value: str | None
    folder: str
    """The partition's, and those below it."""


def guess_format(values: Sequence[str | None]) -> tuple[str | None, Guess]:
    """The newest of the values of partitions, and the guess of how dates are written."""
    pattern = recognise_format(values)
    stated = pattern or DEFAULT_FORMAT
    newest = newest_value(values, stated)

    reason = f"the newest partition is {show_value(newest)}"
    if pattern is None:
        reason = (
            f"partitions such as {show_value(newest)} are no dates; `run` takes them, `backfill` "
            "and the nightly flow need dates"
        )

    return newest, Guess("input.partition_format", stated, reason)


def link_files(
    store: Store, files: Sequence[InputFile], target: Path, n_left_out: int = 0
) -> Layout:
    """A partition for each date in the names of the files, or one for all of them.

    Args:
        store: Where the files are.
        files: At least one.
        target: Folder of the partitions.
        n_left_out: Other files, which are no Parquet by their names.
    """
    days: list[str] = []
    for file in files:
        days.append(_date_in(file.path))

    reason = "the names of the files have dates"
    if not all(days):
        day = _last_change(store, files)
        days = [day] * len(files)
        reason = f"the file's name has no date; it was changed on {day}"
        if len(files) > 1:
            reason = f"not all names of files have a date; the newest was changed on {day}"

    if n_left_out:
        reason += f"; {counted(n_left_out, 'file')} without the ending .parquet left out"

    placed = []
    for file, day in zip(files, days, strict=True):
        placed.append(_Placed(file, day, encode_folder(DEFAULT_KEY, day)))
    return _linked(store, DEFAULT_KEY, placed, target, reason)


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
        return link_files(store, [listed[path] for path, _ in files], target)

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

    newest, format_guess = guess_format(list(values))
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


def _date_in(path: str) -> str:
    """The last date in a path, as partitions have it; empty: there is none."""
    for match in reversed(list(_DATE.finditer(path))):
        times = readings(match[0])
        if len(times) == 1:
            return f"{times[0]:{DEFAULT_FORMAT}}"
    return ""


def _last_change(store: Store, files: Sequence[InputFile]) -> str:
    """The date, in UTC, on which the newest file was changed."""
    newest_s = max(Path(store.locate(file.path)).stat().st_mtime for file in files)
    return f"{datetime.fromtimestamp(newest_s, UTC):{DEFAULT_FORMAT}}"
