"""Decides which files are a partition's input: all but those that a rule or the job leaves out."""

import fnmatch
import json
import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.errors import InputError
from nightscore.inputs.listing import Listing
from nightscore.schemas.partition import InputFile, hive_of
from nightscore.schemas.text import is_utf8
from nightscore.storage.store import Store

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
"""In any case. A file of another name is Parquet if its content says so."""
OTHER_FORMATS = {
    ".csv": "read_csv",
    ".json": "read_json",
    ".jsonl": "read_ndjson",
    ".ndjson": "read_ndjson",
    ".avro": "read_avro",
    ".arrow": "read_ipc",
    ".feather": "read_ipc",
    ".xlsx": "read_excel",
}
"""Names of files that people take for an input, and what reads them in Polars."""
CHECKSUM_SUFFIX = ".crc"
LEAST_BYTES = 12
"""Of a Parquet file: magic, an empty footer's length, magic."""
MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
UNREADABLE = "unreadable"
"""Version of what is listed and cannot be read. No file has it, so a partition with it counts as
changed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The files of a listing that count."""

    files: tuple[InputFile, ...]
    """In the order of their paths; those with a problem included."""
    left_out: tuple[str, ...] = ()
    """Paths of files that `input.files` leaves out."""
    problems: tuple[str, ...] = ()
    """Why the partition cannot be scored whole, path by path."""


def is_hidden(name: str) -> bool:
    """Whether Hive and Spark take a name as temporary or private.

    These are `.x`, and `_x` unless it is a folder `_key=value`.
    """
    return name.startswith((".", "_")) and (name[0] == "." or "=" not in name)


def is_named_parquet(path: str) -> bool:
    """Whether the name says that it is Parquet."""
    return path.lower().endswith(PARQUET_SUFFIXES)


def is_marker(path: str, size_bytes: int) -> bool:
    """Whether a file holds no rows: a checksum, or the marker of a folder or of success.

    An empty file that is named as Parquet is no marker: its writer meant to write rows.
    """
    return path.endswith(CHECKSUM_SUFFIX) or (size_bytes == 0 and not is_named_parquet(path))


class _Folders:
    """What the folders' names say, worked out once for all files of a folder."""

    def __init__(self) -> None:
        self._hive: dict[str, tuple[tuple[str, str | None], ...] | None] = {}

    def hive_of(self, folder: str) -> tuple[tuple[str, str | None], ...] | None:
        """The decoded `key=value` folders of the files in a folder; None: one of them is hidden."""
        if folder not in self._hive:
            some_hidden = any(map(is_hidden, folder.split("/")))
            self._hive[folder] = None if some_hidden else hive_of(f"{folder}/")
        return self._hive[folder]


def choose_files(listing: Listing, pattern: str | None = None) -> Choice:
    """The input in a listing.

    Args:
        listing: Of a partition's folders, or of a dataset's.
        pattern: The job's `input.files`; None: every file that is no marker.
    """
    matches = None if pattern is None else re.compile(fnmatch.translate(pattern)).match
    files: list[InputFile] = []
    left_out: list[str] = []
    problems: list[str] = []
    folders = _Folders()

    for entry in listing.entries:
        path = entry.path
        folder, _, name = path.rpartition("/")
        hive = folders.hive_of(folder)
        if hive is None or is_hidden(name) or is_marker(name, entry.size_bytes):
            continue

        if matches is not None and not matches(name):
            left_out.append(path)
            continue

        if not is_utf8(path):
            problems.append(f"{shown(path)}: the name is not UTF-8")

        files.append(InputFile(path, entry.size_bytes, entry.version, hive))

    for path, reason in sorted(listing.problems.items()):
        if folders.hive_of(path) is None:
            continue

        problems.append(f"{shown(path)}: {reason}")
        files.append(InputFile(path, 0, UNREADABLE, hive_of(path)))

    files.sort(key=lambda file: file.path)
    return Choice(tuple(files), tuple(left_out), tuple(problems))


def check_choice(choice: Choice, where: str, pattern: str | None) -> None:
    """Refuse a partition that cannot be scored whole.

    Raises:
        InputError: With all obstacles, and how to say which files count.
    """
    if choice.problems:
        n_problems = len(choice.problems)
        raise InputError(
            f"{n_problems} of the partition's files or folders cannot be read; "
            "nothing was published.",
            where,
            expected="files that can all be read, so that no row is left out",
            problems=choice.problems,
            next_step="repair them, or move them away; a name that starts with _ or . is skipped",
        )

    if choice.left_out and not choice.files:
        raise InputError(
            "The partition has files, but none whose name matches input.files.",
            where,
            expected=f"a name that matches {pattern!r} and starts with neither _ nor .",
            found=", ".join(shown(path) for path in choice.left_out[:5]),
            next_step="correct input.files in the job file, "
            "or move the files away if none is meant to count",
        )


def content_problem(store: Store, file: InputFile) -> str:
    """Why a file is not Parquet; empty: it is, or its name says so.

    Reading the footer shows whether the name is right.
    """
    if is_named_parquet(file.path):
        return ""

    named = f"{shown(file.path)} ({file.size_bytes:,} bytes)"

    if file.size_bytes < LEAST_BYTES:
        return f"{named}: is no Parquet file, nor named as one"

    first = store.read_range(file.path, 0, len(MAGIC))

    last = store.read_range(file.path, file.size_bytes - len(MAGIC), file.size_bytes)
    if ENCRYPTED_MAGIC in (first, last):
        return f"{named}: is Parquet with an encrypted footer, which nightscore cannot read"
    if first != MAGIC or last != MAGIC:
        reader = other_format(file.path)
        if reader is not None:
            return f"{named}: is no Parquet file; {conversion(store.locate_url(file.path), reader)}"
        return f"{named}: is no Parquet file, nor named as one; it begins with {first!r}"

    return ""


def other_format(path: str) -> str | None:
    """Polars' function for a file whose name says another format; None: it says none."""
    return OTHER_FORMATS.get(posixpath.splitext(path.lower())[1])


def conversion(path: str, reader: str) -> str:
    """How to write a file of another format as Parquet."""
    source, target = shown(path), posixpath.splitext(shown(path))[0] + ".parquet"
    places = json.dumps(source), json.dumps(target)
    code = f"import polars; polars.{reader}({places[0]}).write_parquet({places[1]})"
    return f"write it as Parquet: python -c {shlex.quote(code)}"


def shown(path: str) -> str:
    """A path with bytes that are not UTF-8 escaped."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def named_parquet_first(files: Sequence[InputFile]) -> list[InputFile]:
    """The files; those named as Parquet come first."""
    return sorted(files, key=lambda file: not is_named_parquet(file.path))
