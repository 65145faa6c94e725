"""Finds out how data are laid out: in partitions, as plain files, or as a Delta table."""

import difflib
import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nightscore.errors import InputError, LocationNotFoundError
from nightscore.inputs.date_formats import newest_value
from nightscore.inputs.files import (
    choose_files,
    conversion,
    is_hidden,
    is_named_parquet,
    other_format,
    shown,
)
from nightscore.inputs.listing import Listing, list_all
from nightscore.inputs.tables import LOG_FOLDERS, check_listing, check_no_table
from nightscore.operations.project.links import (
    DEFAULT_KEY,
    PLACEHOLDER_DAY,
    guess_format,
    link_files,
    link_table,
)
from nightscore.operations.project.records import Guess, Layout
from nightscore.schemas.partition import InputFile, decode_folder, encode_folder, show_value
from nightscore.schemas.text import counted
from nightscore.storage.errors import translated_errors
from nightscore.storage.store import Store

SHOWN_FILES = 5
PATTERN_SIGNS = frozenset("*?[")
FOLDER_ABOVE_PARTITIONS = re.compile(r"((?:[^/=]+/)*[^/=]+)/[^/=]+=[^/]*/")


def find_layout(data: str, target: Path) -> Layout:
    """The layout of the data.

    Args:
        data: A Parquet file, a folder of partitions or of files, or a Delta table; a path or URL.
        target: Folder of the project for files that are in no partition.

    Raises:
        InputError: There is no Parquet, or nobody can say which files count.
        LocationNotFoundError: There is nothing.
    """
    if "://" not in data:
        with translated_errors(data):
            _check_exists(Path(data))
        data = str(Path(data).absolute())
        if Path(data).is_file():
            return _file_layout(Path(data), target)

    folder = posixpath.basename(data.rstrip("/"))
    if decode_folder(folder) is not None:
        data = posixpath.dirname(data.rstrip("/"))  # one partition was given

    store = Store(data)
    folders, _ = store.list_names()

    if store.is_local and LOG_FOLDERS.keys() & set(folders) == {"_delta_log"}:
        return link_table(store, target)

    check_no_table(store)
    values_by_key = _values_by_key(folders)
    if values_by_key:
        return _partition_layout(store, values_by_key)

    return _plain_layout(store, target)


def _check_exists(path: Path) -> None:
    if path.is_file() or path.is_dir():
        return
    if path.exists():
        raise InputError(
            "The data are no file and no folder.",
            str(path),
            expected="a Parquet file, a folder of them, or a Delta table",
            found="a device, a pipe or a socket",
            next_step="write the data to a file, and give that as --data",
        )
    if path.is_symlink():
        raise LocationNotFoundError(
            "The link of --data leads nowhere.",
            str(path),
            expected="a Parquet file, a folder of them, or a Delta table",
            found=f"a link to {path.readlink()}",
            next_step="correct the link, or give the file or folder itself",
        )
    if PATTERN_SIGNS & set(str(path)):
        parent = path.parent
        while PATTERN_SIGNS & set(str(parent)):
            parent = parent.parent
        raise LocationNotFoundError(
            "--data takes one file or one folder, no pattern.",
            str(path),
            expected="a Parquet file, a folder of them, or a Delta table",
            found="a pattern that is no name",
            next_step=f"give the folder: --data {shlex.quote(str(parent))}",
        )

    siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.6)
    advice = f"did you mean {path.with_name(near[0])}?" if near else "check the path of --data"
    raise LocationNotFoundError(
        "There are no such data.",
        str(path),
        expected="a Parquet file, a folder of them, or a Delta table",
        found="nothing",
        next_step=advice,
    )


def _values_by_key(folders: Iterable[str]) -> dict[str, list[str | None]]:
    """The values of the folders `key=value`, by key."""
    values_by_key: dict[str, list[str | None]] = {}
    for name in folders:
        decoded = decode_folder(name)
        if decoded is not None and not is_hidden(name):
            values_by_key.setdefault(decoded[0], []).append(decoded[1])
    return values_by_key


def _partition_layout(store: Store, values_by_key: Mapping[str, list[str | None]]) -> Layout:
    """The layout of folders `key=value`."""
    key = max(values_by_key, key=lambda name: len(values_by_key[name]))
    values = values_by_key[key]
    newest, of_dates = guess_format(values, store.url)

    reason = f"the data have {counted(len(values), 'folder')} {key}=..."
    sample = _files_below(store, encode_folder(key, newest))
    left = list(values)
    while not sample and len(left) > 1:
        reason += f"; {show_value(newest)} has no files yet"
        left.remove(newest)
        newest = newest_value(left, of_dates.value)
        sample = _files_below(store, encode_folder(key, newest))

    others = [f"{name}=..." for name in values_by_key if name != key]
    if others:
        reason += f"; not read: {', '.join(others)}"

    folder = encode_folder(key, newest)
    inner = [name for name in store.list_folders(folder) if decode_folder(name) is not None]
    if inner:
        reason += f"; folders below it, such as {inner[0]}, belong to the same partition"

    return Layout(
        uri=store.uri,
        key=key,
        pattern=of_dates.value,
        newest=newest,
        store=store,
        sample=sample,
        guesses=(Guess("input.partition_key", key, reason), of_dates),
    )


def _files_below(store: Store, folder: str) -> tuple[InputFile, ...]:
    """The files of a folder."""
    return _readable(list_all(store, [folder]), store)


def _readable(listing: Listing, store: Store) -> tuple[InputFile, ...]:
    """The files of a listing.

    Raises:
        InputError: Some cannot be read. All of them are named.
    """
    choice = choose_files(listing)
    if choice.problems:
        raise InputError(
            "Some files or folders of the data cannot be read; nothing was written.",
            store.url,
            expected="files that this user may read, with names in UTF-8",
            found=counted(len(choice.problems), "problem"),
            problems=choice.problems,
            next_step="correct their permissions, links or names, or move them away",
        )
    return choice.files


def _file_layout(path: Path, target: Path) -> Layout:
    """The layout of one file: that of its partition, or a partition of its own."""
    folders = [folder for folder in path.parents if decode_folder(folder.name) is not None]
    if folders:
        return find_layout(str(folders[-1].parent), target)

    store = Store(str(path.parent))
    sample = [file for file in choose_files(list_all(store, [""])).files if file.path == path.name]
    if not sample or other_format(path.name) is not None:
        raise _no_parquet(store, [path.name])

    return link_files(store, sample, target)


def _plain_layout(store: Store, target: Path) -> Layout:
    """The layout of a folder without partitions."""
    if not store.is_local:
        store.check_reachable()
        raise InputError(
            "The data have no partitions: there is no folder <key>=<value>/ directly below.",
            store.url,
            expected=f"folders such as {DEFAULT_KEY}=2026-11-24/ with Parquet files",
            found=", ".join(store.list_names()[0][:SHOWN_FILES]) or "no folder",
            next_step="have the files written to such folders, or give the folder that has them",
        )

    listing = list_all(store, [""])
    check_listing(listing, store.url)
    files = _readable(listing, store)
    if any(is_named_parquet(file.path) and "/" not in file.path for file in files):
        files = tuple(file for file in files if "/" not in file.path)

    parquet = [file for file in files if is_named_parquet(file.path)]
    if not parquet:
        raise _no_parquet(store, [file.path for file in files])

    _check_no_partitions_below(store, parquet)
    return link_files(store, parquet, target, n_left_out=len(files) - len(parquet))


def _check_no_partitions_below(store: Store, files: Sequence[InputFile]) -> None:
    """Refuse a folder whose own folders have the partitions: they may be several data sets.

    Raises:
        InputError: The folders to give instead are named.
    """
    folders = set()
    for file in files:
        if match := FOLDER_ABOVE_PARTITIONS.match(file.path):
            folders.add(store.locate_url(match[1]))

    if not folders:
        return

    raise InputError(
        "The partitions are not directly below the folder; nothing was written.",
        store.url,
        expected=f"folders such as {DEFAULT_KEY}={PLACEHOLDER_DAY}/ directly below --data",
        found=f"such folders below {counted(len(folders), 'other folder')}",
        problems=sorted(folders)[:SHOWN_FILES],
        next_step=f"give the folder that has them: --data {shlex.quote(min(folders))}",
    )


def _no_parquet(store: Store, paths: Sequence[str]) -> InputError:
    problems = []
    for path in paths[:SHOWN_FILES]:
        reader = other_format(path)
        advice = f": {conversion(store.locate_url(path), reader)}" if reader else ""
        problems.append(f"{shown(path)}{advice}")

    return InputError(
        "The data have no Parquet file; nothing was written.",
        store.url,
        expected="files named *.parquet",
        found=f"{counted(len(paths), 'other file')}" if paths else "an empty folder",
        problems=problems,
        next_step="write them as Parquet, and give these files or their folder as --data"
        if paths
        else "give the folder that has the Parquet files as --data",
    )
