"""Compares two Parquet datasets, column by column, without a job."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightscore.arrow.parsing.client import stream
from nightscore.arrow.parsing.files import checked, corrupt, stream_bytes
from nightscore.arrow.texts import as_text, broken_texts, without
from nightscore.drift.grade import compare_columns, worst
from nightscore.drift.measure import pair_up
from nightscore.drift.statistics.columns import ColumnPair
from nightscore.errors import InputError, InvalidJobError, LocationNotFoundError
from nightscore.inputs.casts import is_text_of_bytes
from nightscore.inputs.files import choose_files, is_named_parquet
from nightscore.inputs.footers import Footer, read_columns, read_footers
from nightscore.inputs.listing import Listing, list_all
from nightscore.inputs.tables import check_listing, check_no_table
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import finite_values
from nightscore.profiles.profile import CategoryProfile, NumberProfile, Profile, kind_of
from nightscore.profiles.table import ColumnProfile, from_bytes, is_profile, merge_profiles
from nightscore.schemas.drift import DriftReport, Severity
from nightscore.schemas.partition import InputFile
from nightscore.storage.store import Store

READ_ROWS = 131_072


class Dataset:
    """A Parquet file, or all below a folder; columns are read one at a time."""

    def __init__(self, uri: str, options: Mapping[str, Any] | None = None) -> None:
        """Read the footers; `options` open the store, as in a job file.

        Raises:
            LocationNotFoundError: There is no Parquet file.
            InputError: It is a table of a format of its own, or not all of it can be looked at.
            CorruptFileError: Some cannot be read; all of them are named.
        """
        self.uri = uri
        self.store = Store(uri, options or {})
        listing = list_all(self.store, [""])
        folder, slash, name = uri.rstrip("/").rpartition("/")
        if listing.is_empty and is_named_parquet(name):  # not a folder of that name, but the file
            self.store = Store(folder or slash or ".", options or {})
            listing = Listing([self.store.describe(name)])
        else:
            check_no_table(self.store)
            check_listing(listing, uri)

        choice = choose_files(listing)
        if choice.problems:
            raise InputError(
                f"{len(choice.problems)} of the dataset's files or folders cannot be read.",
                uri,
                expected="files that can all be read, so that no row is left out",
                problems=choice.problems,
                next_step="repair them, or move them away; a name that starts with _ or . is skipped",
            )
        self.files = tuple(
            InputFile(file.path, file.size_bytes, file.version) for file in choice.files
        )
        if not self.files:
            raise LocationNotFoundError(
                "There is no Parquet file.",
                uri,
                expected="a Parquet file, of any name that starts with neither _ nor .",
                next_step="name a folder or a file with data, or profiles",
            )
        self.footers: list[Footer] = read_footers(self.store, self.files)

    @property
    def schema(self) -> dict[str, pa.DataType]:
        """Of the first file that has the column, and a value in it."""
        found: dict[str, pa.DataType] = {}
        for footer in self.footers:
            for field in footer.schema:
                if field.name not in found or pa.types.is_null(found[field.name]):
                    found[field.name] = field.type
        return found

    def read(self, column: str) -> Iterator[pa.ChunkedArray]:
        """One column's batches; files that lack it give nulls, and so does text that is not UTF-8."""
        for file, footer in zip(self.files, self.footers, strict=True):
            if column not in footer.schema.names:
                yield pa.chunked_array([pa.nulls(footer.n_rows, self.schema[column])])
                continue
            where = self.store.locate_url(file.path)
            batches = stream(
                read_columns,
                self.store,
                file,
                [column],
                READ_ROWS,
                where=where,
                memory_bytes=stream_bytes(),
            )
            for table in checked(batches, where):
                yield _readable(table.column(0), footer.schema.field(column).type)


def _readable(column: pa.ChunkedArray, stated: pa.DataType) -> pa.ChunkedArray:
    if is_text_of_bytes(column.type, stated):
        column = as_text(column)
    broken = broken_texts(column)
    return column if broken is None else without(column, broken)


class StoredProfile:
    """Profiles that runs or baselines have left: those of several files are added up."""

    def __init__(self, uri: str, parts: Iterable[list[ColumnProfile]]) -> None:
        self.uri = uri
        merged, self.errors = merge_profiles(parts)
        self.columns = {
            name: column.profile for (_, name, segment), column in merged.items() if not segment
        }

    @property
    def schema(self) -> dict[str, pa.DataType]:
        """Numbers or categories: the columns' own types are not kept."""
        return {
            name: pa.float64() if isinstance(profile, NumberProfile) else pa.string()
            for name, profile in self.columns.items()
        }


Side = Dataset | StoredProfile


def open_side(uri: str, options: Mapping[str, Any] | None = None) -> Side:
    """A dataset, or what is stored of one: a profile looks like any Parquet file from outside.

    Raises:
        LocationNotFoundError: There is no Parquet file.
        CorruptFileError: Some cannot be read; all of them are named.
        InvalidJobError: Some files are profiles and some are data.
    """
    found = Dataset(uri, options)
    profiles = [is_profile(footer.schema) for footer in found.footers]
    if not any(profiles):
        return found
    if not all(profiles):
        problems = [
            file.path for file, is_one in zip(found.files, profiles, strict=True) if not is_one
        ]
        raise InvalidJobError(
            "Some files are profiles, and some are data.",
            uri,
            problems=problems[:20],
            next_step="name folders that hold either",
        )
    return StoredProfile(uri, (_stored(found.store, file.path) for file in found.files))


def _stored(store: Store, path: str) -> list[ColumnProfile]:
    try:
        return from_bytes(store.read_bytes(path))
    except ValueError as error:
        raise corrupt(store.locate_url(path), str(error)[:200]) from error


Profiles = dict[str, tuple[ColumnProfile, ColumnProfile]]
"""Column to what it looked like then and now."""


def compare_datasets(reference: Side, current: Side, columns: Sequence[str] = ()) -> DriftReport:
    """What differs, column by column; see `compare_sides`."""
    return compare_sides(reference, current, columns)[0]


def compare_sides(
    reference: Side, current: Side, columns: Sequence[str] = ()
) -> tuple[DriftReport, Profiles]:
    """What differs, column by column, and the profiles that were compared.

    Args:
        reference: What is compared with: its quantiles cut the bins.
        current: What may have drifted.
        columns: Only these; none: all that both have.

    Raises:
        InvalidJobError: A column is in neither; or data are to be compared with a profile, whose bins are another's.
    """
    if isinstance(reference, Dataset) and isinstance(current, StoredProfile):
        raise InvalidJobError(
            "A stored profile cannot be compared with data: its bins were cut before.",
            f"{reference.uri} and {current.uri}",
            expected="a stored profile as the reference, or data on both sides",
            found="data as the reference, a stored profile as what is compared with them",
            next_step="give the profile first, or the data that it was made of in its place",
        )
    then, now = reference.schema, current.schema
    unknown = [name for name in columns if name not in then and name not in now]
    if unknown:
        raise InvalidJobError(
            "Some columns are in neither dataset.",
            f"{reference.uri} and {current.uri}",
            expected=", ".join([*dict.fromkeys([*then, *now])][:40]),
            found=", ".join(unknown),
            next_step="correct the names",
        )
    wanted = [name for name in (columns or then) if name in then and name in now]
    pairs: dict[str, ColumnPair] = {}
    errors = {**getattr(reference, "errors", {}), **getattr(current, "errors", {})}
    for name in wanted:
        try:
            pairs[name] = _profiles(reference, current, name)
        except (pa.ArrowException, TypeError, ValueError) as error:
            errors[name] = (
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )
    found = compare_columns(pairs)
    chosen = set(columns)
    missing = tuple(name for name in then if name not in now and (not chosen or name in chosen))
    grades: list[Severity] = [column.severity for column in found]
    grades += ["critical"] if missing else []
    grades += ["warning"] if errors else []  # what nobody has looked at is not all right
    report = DriftReport(
        columns=tuple(found),
        missing_columns=missing,
        new_columns=tuple(
            name for name in now if name not in then and (not chosen or name in chosen)
        ),
        changed_types={
            name: f"{then[name]}, {now[name]}"
            for name in wanted
            if then[name] != now[name] and isinstance(reference, Dataset)
        },
        errors=errors,
        verdict=worst(grades),
    )
    sides = [
        {
            name: "" if isinstance(side, StoredProfile) else str(kind)
            for name, kind in side.schema.items()
        }
        for side in (reference, current)
    ]
    profiles = {
        name: (
            ColumnProfile(role="feature", name=name, profile=pair.reference, type=sides[0][name]),
            ColumnProfile(role="feature", name=name, profile=pair.current, type=sides[1][name]),
        )
        for name, pair in pairs.items()
    }
    return report, profiles


def _profiles(reference: Side, current: Side, name: str) -> ColumnPair:
    types = [reference.schema[name], current.schema[name]]
    if pa.types.is_null(types[0]) != pa.types.is_null(
        types[1]
    ):  # a column without any value has no type of its own
        types = [next(kind for kind in types if not pa.types.is_null(kind))] * 2
    kinds = [kind_of(kind) for kind in types]
    if kinds[0] is None or kinds[0] != kinds[1]:
        raise TypeError(f"{reference.schema[name]} and {current.schema[name]} cannot be compared")
    then = (
        reference.columns[name]
        if isinstance(reference, StoredProfile)
        else _profile(reference, name, types[0])
    )
    now = (
        current.columns[name]
        if isinstance(current, StoredProfile)
        else _profile(current, name, types[1], then)
    )
    stored = isinstance(reference, StoredProfile) or isinstance(current, StoredProfile)
    return pair_up(then, now, "" if stored else str(types[1]))


def _profile(data: Dataset, name: str, kind: pa.DataType, like: Profile | None = None) -> Profile:
    """One column of a dataset, over the bins of another profile, or cut at its own values."""
    found: Profile
    columns: Iterable[pa.ChunkedArray] = (
        column.cast(kind) if pa.types.is_null(column.type) else column for column in data.read(name)
    )
    if kind_of(kind) == "category":
        found = CategoryProfile()
    elif isinstance(like, NumberProfile):
        found = NumberProfile.empty(like.edges, like.range)
    else:
        columns = list(columns)  # its quantiles want all of a column's values at once
        found = NumberProfile.empty(Edges.from_values(finite_values(columns)))
    for column in columns:
        found.add(column)
    return found
