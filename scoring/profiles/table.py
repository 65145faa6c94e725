"""The profile of a partition as a table with one row per column and segment.

It has this form on the store and between processes.
"""

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Self

import pyarrow as pa

from nightscore.arrow.arrays import from_values, list_ends, to_lists, to_table, to_texts
from nightscore.arrow.parsing.files import read_table as parse_table
from nightscore.errors import CorruptFileError
from nightscore.profiles.class_counts import CLASS_FIELDS, ClassCounts
from nightscore.profiles.edges import shared_edges
from nightscore.profiles.profile import CategoryProfile, Kind, NumberProfile, Profile
from nightscore.profiles.scores import ERROR_FIELDS, Scores
from nightscore.profiles.sufficient_statistic_catalog import all_statistics

Role = Literal["feature", "prediction", "pass_through"]
Habit = Mapping[str, Mapping[str, float]]
"""How far a column was from the baseline, by partition and by what differs (`Signal`)."""
Key = tuple[Role, str, str]
"""Role, name and segment."""

COLUMN_FIELDS: tuple[pa.Field, ...] = (
    pa.field("role", pa.string()),
    pa.field("column", pa.string()),
    pa.field("segment", pa.string()),
    pa.field("kind", pa.string()),
    pa.field("type", pa.string()),
    pa.field("n_rows", pa.int64()),
    pa.field("n_null", pa.int64()),
    pa.field("bounds", pa.list_(pa.float64())),
    pa.field("fine_edges", pa.list_(pa.float64())),
    pa.field("decile_edges", pa.list_(pa.float64())),
    pa.field("categories", pa.list_(pa.string())),
    pa.field("is_cut", pa.bool_()),
    pa.field("recent", pa.map_(pa.string(), pa.map_(pa.string(), pa.float64()))),
    pa.field("score_keys", pa.list_(pa.string())),
    pa.field("score_rows", pa.list_(pa.int64())),
    pa.field("score_sums", pa.list_(pa.float64())),
)
OPTIONAL_FIELDS = (ERROR_FIELDS, CLASS_FIELDS)
"""Columns that a table of profiles has if any of its rows has values of them."""


@dataclass(slots=True, kw_only=True)
class ColumnProfile:
    """One column of a partition, or of a segment of it."""

    role: Role
    name: str
    profile: Profile
    segment: str = ""
    """`column=value`; empty: all rows."""
    scores: Scores | None = None
    """For a feature, the model's score by bin. For the score, the true outcome by bin.

    Only a baseline has them.
    """
    classes: ClassCounts | None = None
    """For the predicted class of a model of several classes, rows by class and probability."""
    type: str = ""
    """Arrow type in the files; empty: not known."""
    recent: Habit = field(default_factory=dict)
    """Distances of earlier partitions and of this one. They are no part of a sum."""

    @property
    def key(self) -> Key:
        """What identifies it within a partition."""
        return self.role, self.name, self.segment

    @property
    def kind(self) -> Kind:
        """How it is compared."""
        return self.profile.kind

    def copy(self) -> Self:
        """The same, to be added to."""
        twin = replace(self, profile=self.profile.copy())
        if self.scores is not None:
            twin.scores = self.scores.copy()
        if self.classes is not None:
            twin.classes = self.classes.copy()
        return twin

    def merge(self, other: "ColumnProfile") -> None:
        """Add another part's counts.

        Raises:
            ValueError: The other part has another kind or other bins.
        """
        if type(self.profile) is not type(other.profile):
            raise ValueError("profiles of numbers and of categories cannot be added")

        self.profile.merge(other.profile)  # type: ignore[arg-type]

        is_cut = isinstance(self.profile, CategoryProfile) and self.profile.is_cut
        if self.scores is not None and other.scores is not None and not is_cut:
            self.scores.merge(other.scores)
        else:
            self.scores = None

        if self.classes is not None:
            self.classes = None if other.classes is None else self.classes.plus(other.classes)


def merge_profiles(
    parts: Iterable[Iterable[ColumnProfile]],
) -> tuple[dict[Key, ColumnProfile], dict[str, str]]:
    """Add up profiles of parts, or of partitions. The parts stay as they are.

    Returns:
        The sum of each column, and for each column that cannot be added up the reason.
    """
    merged: dict[Key, ColumnProfile] = {}
    copied: set[Key] = set()
    failed: dict[str, str] = {}

    for column in itertools.chain.from_iterable(parts):
        key = column.key
        if key not in merged:
            merged[key] = column
            continue

        # A column that is in one part only need not be copied.
        if key not in copied:
            merged[key] = merged[key].copy()
            copied.add(key)

        try:
            merged[key].merge(column)
        except ValueError as error:
            failed[column.name] = str(error)

    sums = {key: column for key, column in merged.items() if column.name not in failed}

    return sums, failed


def to_profile_table(columns: Iterable[ColumnProfile]) -> pa.Table:
    """As a table. It has columns for sums of errors, and for classes, if one of these has any."""
    rows = [_row(column) for column in columns]
    fields = list(schema())
    for optional in OPTIONAL_FIELDS:
        if any(optional[0].name in row for row in rows):
            fields += optional
    return to_table(rows, pa.schema(fields))


def to_bytes(columns: Iterable[ColumnProfile]) -> bytes:
    """As a Parquet file."""
    return write_parquet(to_profile_table(columns))


def write_parquet(table: pa.Table) -> bytes:
    """A table of profiles as a Parquet file."""
    # A driver that writes nothing need not import it.
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    # Values hardly repeat: dictionaries would take half of the time, and space. Zstandard takes
    # twice as long, to save a fifteenth of the bytes.
    pq.write_table(
        table,
        sink,
        compression="snappy",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )

    return sink.getvalue()


def write_stream(table: pa.Table) -> bytes:
    """A table of profiles as an Arrow stream, which takes a fiftieth of the time of Parquet."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_stream(content: bytes) -> list[ColumnProfile]:
    """The profiles in an Arrow stream of a worker of this run. It is not parsed in a process apart.

    Raises:
        ValueError: It is no profile.
    """
    return from_profile_table(read_stream(content))


def read_stream(content: bytes) -> pa.Table:
    """The table in an Arrow stream of a worker of this run.

    Raises:
        ValueError: It is no Arrow stream.
    """
    try:
        return pa.ipc.open_stream(pa.py_buffer(content)).read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"no Arrow stream: {error}") from error


def with_recent(table: pa.Table, columns: Sequence[ColumnProfile]) -> pa.Table:
    """A table of profiles with the distances that its columns have by now, in the same order."""
    recent = [column.recent for column in columns]
    if not any(recent):
        return table

    field = table.schema.field("recent")
    place = table.schema.get_field_index("recent")
    return table.set_column(place, field, from_values(recent, field.type))


def from_bytes(content: bytes) -> list[ColumnProfile]:
    """The profiles in a Parquet file. Columns over the same bins have the same `Edges`.

    Raises:
        ValueError: It is no profile.
    """
    try:
        table = read_whole(content)
    except CorruptFileError as error:
        raise ValueError(f"no Parquet: {error.found}") from error

    return from_profile_table(table)


def from_profile_table(table: pa.Table) -> list[ColumnProfile]:
    """The profiles in a table.

    Raises:
        ValueError: It is no profile.
    """
    missing = sorted(_required_names() - set(table.schema.names))
    if missing:
        raise ValueError(f"no profile: the columns {', '.join(missing)} are missing")

    try:
        return [_column(row) for row in _rows(table)]
    except (pa.ArrowException, TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"no profile: {type(error).__name__}: {error}") from error


def read_whole(content: bytes) -> pa.Table:
    """All of a small Parquet file, decoded in a process apart.

    Raises:
        CorruptFileError: It is none.
    """
    return parse_table(content, "a stored table")


def is_profile(table_schema: pa.Schema) -> bool:
    """Whether a Parquet file holds profiles, from its schema."""
    return _required_names() <= set(table_schema.names)


def schema() -> pa.Schema:
    """The columns of a table of profiles: those of every column, and those of each statistic."""
    statistics = all_statistics().values()
    return pa.schema([*COLUMN_FIELDS, *itertools.chain(*(one.FIELDS for one in statistics))])


def _required_names() -> set[str]:
    """Columns that every version has written."""
    required = {field.name for field in COLUMN_FIELDS}
    for statistic in all_statistics().values():
        if statistic.IS_REQUIRED:
            required |= {field.name for field in statistic.FIELDS}
    return required


def _row(column: ColumnProfile) -> dict[str, Any]:
    profile = column.profile
    row: dict[str, Any] = {
        "role": column.role,
        "column": column.name,
        "segment": column.segment,
        "kind": column.kind,
        "type": column.type,
        "n_rows": profile.n_rows,
        "n_null": profile.n_null,
        "recent": column.recent,
    }

    if isinstance(profile, NumberProfile):
        row |= _number_row(profile)
    else:
        row |= _category_row(profile)

    if column.scores is not None:
        row |= column.scores.to_row()
    if column.classes is not None:
        row |= column.classes.to_row()

    return row


def _number_row(profile: NumberProfile) -> dict[str, Any]:
    row: dict[str, Any] = {
        "bounds": list(profile.bounds),
        "fine_edges": profile.edges.fine,
        "decile_edges": profile.edges.deciles,
    }
    for statistic in profile.statistics.values():
        row |= statistic.to_row()
    return row


def _category_row(profile: CategoryProfile) -> dict[str, Any]:
    """The categories, most frequent first. Their counts share a column with those of bins."""
    names = sorted(profile.counts, key=lambda name: (-profile.counts[name], name))
    counts = [profile.counts[name] for name in names]
    return {"categories": names, "counts": counts, "is_cut": profile.is_cut}


def _rows(table: pa.Table) -> Iterable[dict[str, Any]]:
    """As `_row` gives them, lists of numbers as arrays. Columns that the file lacks are null."""
    columns: dict[str, Sequence[Any]] = {}
    for one in (*schema(), *itertools.chain(*OPTIONAL_FIELDS)):
        columns[one.name] = _values(table, one.name, one.type)
    rows = zip(*columns.values(), strict=True)
    return (dict(zip(columns, values, strict=True)) for values in rows)


def _values(table: pa.Table, name: str, arrow_type: pa.DataType) -> Sequence[Any]:
    if table.schema.get_field_index(name) < 0:
        return [None] * table.num_rows

    stored = table.column(name)
    # A cast to the same type is a call of Arrow's all the same.
    column = _one_chunk(stored if stored.type == arrow_type else stored.cast(arrow_type))

    if name == "recent":
        return _recent(column)

    if pa.types.is_list(arrow_type) and not pa.types.is_string(arrow_type.value_type):
        lists: Sequence[Any] = to_lists(column)
        return lists

    values: list[Any] = column.to_pylist()
    return values


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])


def _recent(column: pa.MapArray) -> list[dict[str, dict[str, float]]]:
    """The differences of each column by partition. What is null is empty."""
    inner = column.items
    names, numbers = to_texts(inner.keys), inner.items.to_pylist()
    signals = []
    for start, end in pairwise(list_ends(inner)):
        signals.append(dict(zip(names[start:end], numbers[start:end], strict=True)))

    partitions = to_texts(column.keys)
    recent = []
    for start, end in pairwise(list_ends(column)):
        recent.append(dict(zip(partitions[start:end], signals[start:end], strict=True)))

    return recent  # type: ignore[return-value]


def _column(row: Mapping[str, Any]) -> ColumnProfile:
    return ColumnProfile(
        role=row["role"],
        name=row["column"],
        profile=_number_profile(row) if row["kind"] == "number" else _category_profile(row),
        segment=row["segment"],
        scores=None if row["score_keys"] is None else Scores.from_row(row),
        classes=ClassCounts.from_row(row),
        type=row["type"],
        recent=row["recent"],
    )


def _number_profile(row: Mapping[str, Any]) -> NumberProfile:
    least, greatest = row["bounds"].tolist()

    statistics = {}
    for name, kind in all_statistics().items():
        statistic = kind.from_row(row)
        if statistic is not None:
            statistics[name] = statistic

    return NumberProfile(
        edges=shared_edges(row["fine_edges"].tobytes(), row["decile_edges"].tobytes()),
        bounds=(least, greatest),
        n_rows=row["n_rows"],
        n_null=row["n_null"],
        statistics=statistics,
    )


def _category_profile(row: Mapping[str, Any]) -> CategoryProfile:
    counts = dict(zip(row["categories"], row["counts"].tolist(), strict=True))
    is_cut = bool(row["is_cut"])
    return CategoryProfile(row["n_rows"], row["n_null"], Counter(counts), is_cut=is_cut)
