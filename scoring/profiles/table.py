"""The profile of a partition as a table, one row a column and segment: on the store, and between processes."""

import functools
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from nightscore.arrow.arrays import list_ends, to_lists, to_table, to_texts
from nightscore.arrow.parsing.files import read_table as parse_table
from nightscore.errors import CorruptFileError
from nightscore.profiles.distinct import DistinctValues
from nightscore.profiles.profile import CategoryProfile, Edges, Kind, NumberProfile, Profile

Role = Literal["feature", "prediction", "pass_through"]
Habit = Mapping[str, Mapping[str, float]]
"""Partition to how far the column was from the baseline then, by what differs (`Signal`)."""
Key = tuple[Role, str, str]
"""Role, name and segment."""

SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("column", pa.string()),
        ("segment", pa.string()),
        ("kind", pa.string()),
        ("type", pa.string()),
        ("n_rows", pa.int64()),
        ("n_null", pa.int64()),
        ("n_nan", pa.int64()),
        ("n_high", pa.int64()),
        ("n_low", pa.int64()),
        ("least", pa.float64()),
        ("greatest", pa.float64()),
        ("total", pa.float64()),
        ("shifted", pa.float64()),
        ("squares", pa.float64()),
        ("n_outside", pa.int64()),
        ("bounds", pa.list_(pa.float64())),
        ("fine_edges", pa.list_(pa.float64())),
        ("decile_edges", pa.list_(pa.float64())),
        ("counts", pa.list_(pa.int64())),
        ("sums", pa.list_(pa.float64())),
        ("hashes", pa.list_(pa.uint64())),
        ("categories", pa.list_(pa.string())),
        ("is_cut", pa.bool_()),
        ("recent", pa.map_(pa.string(), pa.map_(pa.string(), pa.float64()))),
        ("score_keys", pa.list_(pa.string())),
        ("score_rows", pa.list_(pa.int64())),
        ("score_sums", pa.list_(pa.float64())),
    ]
)
NUMBERS = (
    "n_nan",
    "n_high",
    "n_low",
    "least",
    "greatest",
    "total",
    "shifted",
    "squares",
    "n_outside",
)


@dataclass(slots=True)
class Scores:
    """The mean of another column by bin of this one: rows and sum, by the bin's number or the category's name."""

    rows: Counter[str | None] = field(default_factory=Counter)
    """None: rows whose value is missing or not finite."""
    sums: dict[str | None, float] = field(default_factory=dict)

    def add(self, key: str | None, n_rows: int, total: float) -> None:
        """Count rows of one bin."""
        if n_rows:
            self.rows[key] += n_rows
            self.sums[key] = self.sums.get(key, 0.0) + total

    @property
    def mean(self) -> float:
        """Of all bins; nan without rows."""
        n_rows = self.rows.total()
        return sum(self.sums.values()) / n_rows if n_rows else float("nan")

    def merge(self, other: "Scores") -> None:
        """Add another part's."""
        for key, n_rows in other.rows.items():
            self.add(key, n_rows, other.sums[key])


@dataclass(slots=True)
class ColumnProfile:
    """One column of a partition, or of a segment of it."""

    role: Role
    name: str
    profile: Profile
    segment: str = ""
    """`column=value`; empty: all rows."""
    scores: Scores | None = None
    """Of a baseline's feature: what the model said of each bin's rows; of its score: what came true of them."""
    type: str = ""
    """Arrow type in the files; empty: not known."""
    recent: Habit = field(default_factory=dict)
    """Of the partitions before, and of this one; no part of a sum."""

    @property
    def key(self) -> Key:
        return self.role, self.name, self.segment

    @property
    def kind(self) -> Kind:
        return self.profile.kind

    def copy(self) -> Self:
        """The same, to be added to."""
        scores = (
            None
            if self.scores is None
            else Scores(Counter(self.scores.rows), dict(self.scores.sums))
        )
        if isinstance(self.profile, CategoryProfile):
            profile: Profile = replace(self.profile, counts=Counter(self.profile.counts))
        else:
            distinct = self.profile.distinct
            profile = replace(
                self.profile, distinct=None if distinct is None else replace(distinct)
            )
        return replace(self, profile=profile, scores=scores)

    def merge(self, other: "ColumnProfile") -> None:
        """Add another part's counts.

        Raises:
            ValueError: It is of another kind or has other bins.
        """
        if type(self.profile) is not type(other.profile):
            raise ValueError("profiles of numbers and of categories cannot be added")
        self.profile.merge(other.profile)  # type: ignore[arg-type]
        is_cut = isinstance(self.profile, CategoryProfile) and self.profile.is_cut
        if self.scores is not None and other.scores is not None and not is_cut:
            self.scores.merge(other.scores)
        else:
            self.scores = None


def merge_profiles(
    parts: Iterable[Iterable[ColumnProfile]],
) -> tuple[dict[Key, ColumnProfile], dict[str, str]]:
    """The sum of all parts, and the columns that cannot be added up with the reason. The parts stay as they are."""
    found: dict[Key, ColumnProfile] = {}
    sums: set[Key] = set()
    failed: dict[str, str] = {}
    for column in (column for part in parts for column in part):
        key = column.key
        try:
            if key not in found:
                found[key] = column
                continue
            if key not in sums:
                found[key] = found[key].copy()
                sums.add(key)
            found[key].merge(column)
        except ValueError as error:
            failed[column.name] = str(error)
    return {key: column for key, column in found.items() if column.name not in failed}, failed


def to_bytes(columns: Iterable[ColumnProfile]) -> bytes:
    """As a Parquet file."""
    import pyarrow.parquet as pq  # what a driver that writes nothing need not import

    table = to_table([_row(column) for column in columns], SCHEMA)
    sink = io.BytesIO()
    # Hardly a value stands twice: dictionaries would cost half of the time, and space.
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)
    return sink.getvalue()


def from_bytes(content: bytes) -> list[ColumnProfile]:
    """The profiles in a Parquet file. Columns over the same bins have the same `Edges`.

    Raises:
        ValueError: It is no profile.
    """
    try:
        table = read_whole(content)
    except CorruptFileError as error:
        raise ValueError(f"no Parquet: {error.found}") from error
    if missing := sorted(set(SCHEMA.names) - set(table.schema.names)):
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


def is_profile(schema: pa.Schema) -> bool:
    """Whether a Parquet file holds profiles, from its schema."""
    return set(SCHEMA.names) <= set(schema.names)


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
        row |= {name: getattr(profile, name) for name in NUMBERS}
        row |= {
            "bounds": list(profile.bounds),
            "fine_edges": profile.edges.fine,
            "decile_edges": profile.edges.deciles,
            "counts": profile.counts,
            "sums": profile.sums,
            "hashes": None if profile.distinct is None else profile.distinct.hashes,
        }
    else:
        names = sorted(profile.counts, key=lambda name: (-profile.counts[name], name))
        counts = [profile.counts[name] for name in names]
        row |= {"categories": names, "counts": counts, "is_cut": profile.is_cut}
    if column.scores is not None:
        keys = sorted(column.scores.rows, key=lambda key: (key is None, key or ""))
        row |= {
            "score_keys": keys,
            "score_rows": [column.scores.rows[key] for key in keys],
            "score_sums": [column.scores.sums[key] for key in keys],
        }
    return row


def _rows(table: pa.Table) -> Iterable[dict[str, Any]]:
    """As `_row` gives them, lists of numbers as arrays."""
    table = table.select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    columns: dict[str, Sequence[Any]] = {}
    for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True):
        (column,) = table.column(name).chunks or [pa.nulls(0, kind)]
        if name == "recent":
            columns[name] = _habits(column)
        elif pa.types.is_list(kind) and not pa.types.is_string(kind.value_type):
            columns[name] = to_lists(column)
        else:
            columns[name] = column.to_pylist()
    return (
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    )


def _habits(column: pa.MapArray) -> list[dict[str, dict[str, float]]]:
    """What is null is empty."""
    inner = column.items
    names, numbers = to_texts(inner.keys), inner.items.to_pylist()
    ends = list_ends(inner)
    found = [dict(zip(names[a:b], numbers[a:b], strict=True)) for a, b in pairwise(ends)]
    partitions, ends = to_texts(column.keys), list_ends(column)
    return [dict(zip(partitions[a:b], found[a:b], strict=True)) for a, b in pairwise(ends)]  # type: ignore[arg-type]


def _column(row: Mapping[str, Any]) -> ColumnProfile:
    if row["kind"] == "number":
        least, greatest = row["bounds"].tolist()
        profile: Profile = NumberProfile(
            _edges(row["fine_edges"].tobytes(), row["decile_edges"].tobytes()),
            n_rows=row["n_rows"],
            n_null=row["n_null"],
            counts=_there(row["counts"]),
            sums=_there(row["sums"]),
            bounds=(least, greatest),
            distinct=None if row["hashes"] is None else DistinctValues(row["hashes"]),
            **{name: row[name] for name in NUMBERS},
        )
    else:
        counts = Counter(dict(zip(row["categories"], row["counts"].tolist(), strict=True)))
        profile = CategoryProfile(row["n_rows"], row["n_null"], counts, is_cut=bool(row["is_cut"]))
    scores = None
    if row["score_keys"] is not None:
        scores = Scores(
            Counter(dict(zip(row["score_keys"], row["score_rows"].tolist(), strict=True))),
            dict(zip(row["score_keys"], row["score_sums"].tolist(), strict=True)),
        )
    return ColumnProfile(
        row["role"], row["column"], profile, row["segment"], scores, row["type"], row["recent"]
    )


def _there(values: Any) -> Any:
    if values is None:
        raise TypeError("a list is missing")
    return values


@functools.lru_cache(maxsize=4096)
def _edges(fine: bytes, deciles: bytes) -> Edges:
    """Days are counted over the same bins: these are kept, and compared, once."""
    return Edges(np.frombuffer(fine, np.float64), np.frombuffer(deciles, np.float64))
