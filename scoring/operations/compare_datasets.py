"""Compares two Parquet datasets, column by column, without a job."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nightscore.arrow.parsing.files import corrupt
from nightscore.errors import InvalidJobError
from nightscore.inputs.dataset import Dataset
from nightscore.monitoring.drift.grade import compare_columns, worst
from nightscore.monitoring.drift.measure import pair_up
from nightscore.monitoring.drift.statistics.shared.columns import ColumnPair
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import finite_values
from nightscore.profiles.profile import CategoryProfile, NumberProfile, Profile, kind_of
from nightscore.profiles.table import ColumnProfile, from_bytes, is_profile, merge_profiles
from nightscore.schemas.drift import DriftReport, Severity
from nightscore.storage.store import Store


class StoredProfile:
    """Profiles that runs or baselines have stored. Those of several files are added up."""

    def __init__(self, uri: str, parts: Iterable[list[ColumnProfile]]) -> None:
        """Merge the parts; columns that do not fit together are in `errors`."""
        self.uri = uri
        merged, self.errors = merge_profiles(parts)
        self.columns: dict[str, Profile] = {}

        for (_, name, segment), column in merged.items():
            if not segment:
                self.columns[name] = column.profile

    @property
    def schema(self) -> dict[str, pa.DataType]:
        """Numbers or categories: a profile does not store the columns' own types."""
        types: dict[str, pa.DataType] = {}
        for name, profile in self.columns.items():
            types[name] = pa.float64() if isinstance(profile, NumberProfile) else pa.string()

        return types


Side = Dataset | StoredProfile
"""What may be compared."""
Profiles = dict[str, tuple[ColumnProfile, ColumnProfile]]
"""Of each column the reference's profile and the current one."""


def open_side(uri: str, options: Mapping[str, Any] | None = None) -> Side:
    """A dataset, or a stored profile of one; both are Parquet files.

    Raises:
        LocationNotFoundError: There is no Parquet file.
        CorruptFileError: Some files cannot be read; the error lists all of them.
        InvalidJobError: Some files are profiles and some are data.
    """
    dataset = Dataset(uri, options)
    are_profiles = [is_profile(footer.schema) for footer in dataset.footers]

    if not any(are_profiles):
        return dataset
    if all(are_profiles):
        return StoredProfile(uri, (_read_profile(dataset.store, f.path) for f in dataset.files))

    data_paths = []
    for file, is_stored_profile in zip(dataset.files, are_profiles, strict=True):
        if not is_stored_profile:
            data_paths.append(file.path)

    raise InvalidJobError(
        "Some files are profiles, and some are data.",
        uri,
        problems=data_paths[:20],
        next_step="name folders that hold only one of both",
    )


def _read_profile(store: Store, path: str) -> list[ColumnProfile]:
    try:
        return from_bytes(store.read_bytes(path))
    except ValueError as error:
        raise corrupt(store.locate_url(path), str(error)[:200]) from error


def compare_datasets(reference: Side, current: Side, columns: Sequence[str] = ()) -> DriftReport:
    """What differs, column by column; see `compare_sides`."""
    return compare_sides(reference, current, columns)[0]


def compare_sides(
    reference: Side, current: Side, columns: Sequence[str] = ()
) -> tuple[DriftReport, Profiles]:
    """What differs, column by column, and the profiles that were compared.

    Args:
        reference: The side to compare with; its quantiles cut the bins.
        current: The side that may have drifted.
        columns: Compare only these; empty: all columns that both sides have.

    Raises:
        InvalidJobError: A column is on neither side. Or the reference is data and the current side
            a stored profile, whose bins come from elsewhere.
    """
    _check_sides(reference, current)
    _check_names(reference, current, columns)

    old, new = reference.schema, current.schema
    shared = [name for name in (columns or old) if name in old and name in new]
    pairs, errors = _pair_columns(reference, current, shared)
    errors = {**getattr(reference, "errors", {}), **getattr(current, "errors", {}), **errors}

    compared = compare_columns(pairs)
    missing = _only_in(old, new, columns)
    grades: list[Severity] = [column.severity for column in compared]

    if missing:
        grades.append("critical")
    if errors:
        grades.append("warning")  # a column that could not be compared is not known to be fine

    report = DriftReport(
        columns=tuple(compared),
        missing_columns=missing,
        new_columns=_only_in(new, old, columns),
        changed_types=_changed_types(reference, current, shared),
        errors=errors,
        verdict=worst(grades),
    )

    return report, _column_profiles(reference, current, pairs)


def _check_sides(reference: Side, current: Side) -> None:
    if isinstance(reference, Dataset) and isinstance(current, StoredProfile):
        raise InvalidJobError(
            "A stored profile cannot be compared with data: its bins were cut before.",
            f"{reference.uri} and {current.uri}",
            expected="a stored profile as the reference, or data on both sides",
            found="data as the reference, and a stored profile to compare with it",
            next_step="give the profile first, or give the data that it was made of instead",
        )


def _check_names(reference: Side, current: Side, columns: Sequence[str]) -> None:
    known = dict.fromkeys([*reference.schema, *current.schema])
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise InvalidJobError(
            "Some columns are in neither dataset.",
            f"{reference.uri} and {current.uri}",
            expected=", ".join(list(known)[:40]),
            found=", ".join(unknown),
            problems=[_near(name, known) for name in unknown],
            next_step="correct the names",
        )


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.6)
    if not near:
        return f"{name}: no column is called so"
    return f"{name}: did you mean {near[0]}?"


def _pair_columns(
    reference: Side, current: Side, names: Sequence[str]
) -> tuple[dict[str, ColumnPair], dict[str, str]]:
    """The profiles of each column on both sides, and why some columns have none."""
    pairs: dict[str, ColumnPair] = {}
    errors: dict[str, str] = {}

    for name in names:
        try:
            pairs[name] = _pair(reference, current, name)
        except (pa.ArrowException, TypeError, ValueError) as error:
            first_line = next(iter(str(error).splitlines()), "")
            errors[name] = f"{type(error).__name__}: {first_line}"

    return pairs, errors


def _only_in(
    these: Iterable[str], others: Mapping[str, pa.DataType], columns: Sequence[str]
) -> tuple[str, ...]:
    """Columns of one side that the other lacks, among the chosen ones if any are."""
    chosen = set(columns)
    return tuple(name for name in these if name not in others and (not chosen or name in chosen))


def _changed_types(reference: Side, current: Side, names: Sequence[str]) -> dict[str, str]:
    """Both types of each column that has another one now; a stored profile knows no types."""
    if isinstance(reference, StoredProfile):
        return {}

    old, new = reference.schema, current.schema
    return {name: f"{old[name]}, {new[name]}" for name in names if old[name] != new[name]}


def _column_profiles(reference: Side, current: Side, pairs: Mapping[str, ColumnPair]) -> Profiles:
    profiles: Profiles = {}
    for name, pair in pairs.items():
        profiles[name] = (
            ColumnProfile(
                role="feature", name=name, profile=pair.reference, type=_type_name(reference, name)
            ),
            ColumnProfile(
                role="feature", name=name, profile=pair.current, type=_type_name(current, name)
            ),
        )

    return profiles


def _type_name(side: Side, column: str) -> str:
    """The column's type in words; empty for a stored profile, which knows none."""
    return "" if isinstance(side, StoredProfile) else str(side.schema[column])


def _pair(reference: Side, current: Side, name: str) -> ColumnPair:
    """One column's profiles on both sides, over the reference's bins.

    Raises:
        TypeError: Its types cannot be compared.
    """
    old_type, new_type = _common_types(reference.schema[name], current.schema[name])
    if kind_of(old_type) is None or kind_of(old_type) != kind_of(new_type):
        raise TypeError(f"{reference.schema[name]} and {current.schema[name]} cannot be compared")

    if isinstance(reference, StoredProfile):
        old = reference.columns[name]
    else:
        old = _profile(reference, name, old_type)

    if isinstance(current, StoredProfile):
        new = current.columns[name]
    else:
        new = _profile(current, name, new_type, old)

    has_stored_side = isinstance(reference, StoredProfile) or isinstance(current, StoredProfile)
    return pair_up(old, new, "" if has_stored_side else str(new_type))


def _common_types(old: pa.DataType, new: pa.DataType) -> tuple[pa.DataType, pa.DataType]:
    """The types of both sides; a column without any value takes that of the other side."""
    if pa.types.is_null(old):
        return new, new
    if pa.types.is_null(new):
        return old, old
    return old, new


def _profile(
    data: Dataset, name: str, arrow_type: pa.DataType, like: Profile | None = None
) -> Profile:
    """One column of a dataset, over another profile's bins, or over bins cut at its own values."""
    profile: Profile
    batches = _read_as(arrow_type, data, name)

    if kind_of(arrow_type) == "category":
        profile = CategoryProfile()
    elif isinstance(like, NumberProfile):
        profile = NumberProfile.empty(like.edges, like.range)
    else:
        batches = list(batches)  # quantiles need all values of the column at once
        profile = NumberProfile.empty(Edges.from_values(finite_values(batches)))

    for batch in batches:
        profile.add(batch)

    return profile


def _read_as(arrow_type: pa.DataType, data: Dataset, name: str) -> Iterable[pa.ChunkedArray]:
    """One column of a dataset, batch by batch. In files where all is null it takes the type."""
    for batch in data.read(name):
        yield batch.cast(arrow_type) if pa.types.is_null(batch.type) else batch
