"""Which columns of a partition are profiled, over which bins and segments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_texts, to_places
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import finite_values
from nightscore.profiles.profile import CategoryProfile, Kind, NumberProfile, kind_of
from nightscore.profiles.table import ColumnProfile, Key, Role

MAX_SEGMENTS = 50
"""Values of a segment column that are profiled each by itself, all others together."""
OTHER = "(other)"
MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class ProfiledColumn:
    """One column to profile."""

    role: Role
    name: str
    edges: Edges | None
    """Of a column of numbers; None: categories."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """Least and greatest value of the reference that cut the bins."""
    type: str = ""
    """Arrow type in the files."""


@dataclass(frozen=True, slots=True)
class SegmentColumn:
    """A column whose values split the rows into segments."""

    name: str
    values: tuple[str, ...]
    """Each a segment of its own; all others are one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the segments, by their code."""
        return tuple(f"{self.name}={value}" for value in (*self.values, OTHER, MISSING))

    def codes(self, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """The segment of each row, shape (n,), as a position in `labels`."""
        other, missing = len(self.values), len(self.values) + 1
        found = [np.empty(0, np.int64)]
        for chunk in column.chunks:
            coded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
            texts = coded.dictionary.cast(pa.string())
            codes = to_places(pc.index_in(texts, value_set=from_texts(self.values)), other)
            codes[to_places(pc.cast(texts.is_null(), pa.int8()), 0) == 1] = missing
            found.append(
                np.append(codes, missing)[to_places(coded.indices, len(codes))].astype(np.int64)
            )
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class ProfileSpec:
    """What a worker profiles."""

    columns: tuple[ProfiledColumn, ...] = ()
    segments: tuple[SegmentColumn, ...] = ()
    score: str = ""
    """Prediction column whose mean is wanted by bin of each feature; empty: none."""
    label: str = ""
    """Kept column with what came true, whose mean is wanted by bin of the score; empty: none."""
    max_share: float = 1.0
    """Of the worker's CPU time: beyond it, only every n-th row is counted."""


NO_PROFILE = ProfileSpec()


def match_column(
    role: Role, name: str, like: Mapping[Key, ColumnProfile], kind: pa.DataType
) -> ProfiledColumn | None:
    """A column over the bins of the same column before; None where that has none that fit."""
    if kind_of(kind) == "category":
        return ProfiledColumn(role, name, None)
    found = like.get((role, name, ""))
    if found is None or not isinstance(found.profile, NumberProfile):
        return None
    then = found.profile
    return ProfiledColumn(
        role, name, then.edges, then.bounds if np.isfinite(then.bounds[0]) else then.range
    )


def cut_column(role: Role, name: str, values: Iterable[pa.ChunkedArray]) -> ProfiledColumn:
    """A column of numbers over bins that are cut at these values."""
    finite = finite_values(values)
    bounds = (float(finite.min()), float(finite.max())) if len(finite) else (-np.inf, np.inf)
    return ProfiledColumn(role, name, Edges.from_values(finite), bounds)


def match_segments(name: str, like: Mapping[Key, ColumnProfile]) -> SegmentColumn | None:
    """The segments that were profiled before, so that they can be compared; None where there were none."""
    prefix = f"{name}="
    values = {segment.removeprefix(prefix) for _, _, segment in like if segment.startswith(prefix)}
    return SegmentColumn(name, tuple(sorted(values - {OTHER, MISSING}))) if values else None


def cut_segments(name: str, values: Iterable[pa.ChunkedArray]) -> SegmentColumn:
    """The most frequent of these values, ties by name."""
    counts = CategoryProfile()
    for column in values:
        counts.add(as_text(column))
    frequent = sorted(counts.counts, key=lambda value: (-counts.counts[value], value))[
        :MAX_SEGMENTS
    ]
    return SegmentColumn(name, tuple(sorted(frequent)))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as they stand in the name of a segment."""
    return column.cast(pa.string())


def score_column(kinds: Mapping[str, Kind | None]) -> str:
    """Of the prediction columns and their kinds the one that says what the model says: rather than a class a
    probability. Empty where there is no number: several classes have no mean.
    """
    if any(name.startswith("probability_") for name in kinds):
        return ""
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    return next(
        (name for name in ("probability", "decision", "raw", "prediction") if name in numbers), ""
    )
