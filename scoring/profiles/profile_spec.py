"""Which columns of a partition are profiled, over which bins and segments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nightscore.arrow.arrays import from_texts, to_places
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.edges import Edges
from nightscore.profiles.numbers import finite_values
from nightscore.profiles.profile import CategoryProfile, Kind, NumberProfile, kind_of
from nightscore.profiles.table import ColumnProfile, Key, Role

MAX_SEGMENTS = 50
"""Values of a segment column with a profile of their own. All others share one."""
OTHER = "(other)"
"""Label of all values without a segment of their own."""
MISSING = "(missing)"
"""Label of the rows without a value."""
BINARY_SCORE = "probability"
"""The score that only binary models have: the probability of the positive class."""
NUMBER_SCORE = "prediction"
"""The score of a regression: the number that it predicts."""
SCORE_COLUMNS = (BINARY_SCORE, "decision", "raw", NUMBER_SCORE)
"""Prediction columns that say most about what the model says, the best one first."""


@dataclass(frozen=True, slots=True)
class ProfiledColumn:
    """One column to profile."""

    role: Role
    name: str
    edges: Edges | None
    """Edges of the bins of a column of numbers; None: the column has categories."""
    bounds: tuple[float, float] = (-np.inf, np.inf)
    """Least and greatest value of the reference that cut the bins."""
    type: str = ""
    """Arrow type in the files."""


@dataclass(frozen=True, slots=True)
class SegmentColumn:
    """A column whose values split the rows into segments."""

    name: str
    values: tuple[str, ...]
    """Values with a segment of their own. All others share one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the segments, by their code."""
        return tuple(f"{self.name}={value}" for value in (*self.values, OTHER, MISSING))

    def codes(self, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """The segment of each row, shape (n,), as a position in `labels`."""
        codes = [np.empty(0, np.int64)]
        for chunk in column.chunks:
            if not pa.types.is_dictionary(chunk.type):
                chunk = chunk.dictionary_encode()
            codes.append(self._chunk_codes(chunk))
        return np.concatenate(codes)

    def _chunk_codes(self, chunk: pa.DictionaryArray) -> npt.NDArray[np.int64]:
        other, missing = len(self.values), len(self.values) + 1
        texts = chunk.dictionary.cast(pa.string())

        # The segment of each value of the dictionary, then of null.
        codes = to_places(pc.index_in(texts, value_set=from_texts(self.values)), other)
        is_null = to_places(pc.cast(texts.is_null(), pa.int8()), 0) == 1
        codes[is_null] = missing
        codes = np.append(codes, missing)

        places = to_places(chunk.indices, len(codes) - 1)
        return codes[places].astype(np.int64)


@dataclass(frozen=True, slots=True)
class BinsToCut:
    """What has no bins yet: the first batch of the only shard cuts them, when it is counted."""

    columns: tuple[ProfiledColumn, ...] = ()
    """Columns of numbers. Their edges are not known yet."""
    segments: tuple[str, ...] = ()
    """Names of the columns to cut into segments."""


@dataclass(frozen=True, slots=True)
class ProfileSpec:
    """What a worker profiles."""

    columns: tuple[ProfiledColumn, ...] = ()
    segments: tuple[SegmentColumn, ...] = ()
    score: str = ""
    """Prediction column whose mean is taken for each bin of a feature; empty: none."""
    label: str = ""
    """Passthrough column with the true outcome, whose mean is taken for each bin of the score.

    Empty: none.
    """
    classes: ClassColumns | None = None
    """Of a model of several classes, whose rows are counted by predicted class and probability."""
    label_classes: tuple[str, ...] = ()
    """The classes that labels are names of. Empty: labels are numbers or truth values."""
    max_share: float = 1.0
    """Share of the worker's CPU time. Beyond it, only every n-th row is counted."""
    to_cut: BinsToCut = BinsToCut()
    """What the first batch gives bins to. Shards that are added up must have the same bins: only
    the spec of a single shard has any."""


NO_PROFILE = ProfileSpec()


def match_column(
    role: Role, name: str, reference: Mapping[Key, ColumnProfile], arrow_type: pa.DataType
) -> ProfiledColumn | None:
    """A column over the bins that its reference has; None: the reference has none that fit."""
    if kind_of(arrow_type) == "category":
        return ProfiledColumn(role, name, None)

    column = reference.get((role, name, ""))
    if column is None or not isinstance(column.profile, NumberProfile):
        return None

    profile = column.profile
    bounds = profile.bounds
    if not np.isfinite(bounds[0]):
        bounds = profile.range

    return ProfiledColumn(role, name, profile.edges, bounds)


def cut_column(role: Role, name: str, values: Iterable[pa.ChunkedArray]) -> ProfiledColumn:
    """A column of numbers over bins that are cut at these values."""
    finite = finite_values(values)
    bounds = (-np.inf, np.inf)
    if len(finite):
        bounds = (float(finite.min()), float(finite.max()))
    return ProfiledColumn(role, name, Edges.from_values(finite), bounds)


def match_segments(name: str, reference: Mapping[Key, ColumnProfile]) -> SegmentColumn | None:
    """The segments that a reference has, so that they can be compared; None: it has none."""
    prefix = f"{name}="
    labels = [segment for _, _, segment in reference if segment.startswith(prefix)]
    if not labels:
        return None

    values = {label.removeprefix(prefix) for label in labels}
    return SegmentColumn(name, tuple(sorted(values - {OTHER, MISSING})))


def cut_segments(name: str, values: Iterable[pa.ChunkedArray]) -> SegmentColumn:
    """Segments of the most frequent of these values, ties by name."""
    profile = CategoryProfile()
    for column in values:
        profile.add(as_text(column))

    counts = profile.counts
    by_frequency = sorted(counts, key=lambda value: (-counts[value], value))
    return SegmentColumn(name, tuple(sorted(by_frequency[:MAX_SEGMENTS])))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as they appear in the label of a segment."""
    return column.cast(pa.string())


def score_column(kinds: Mapping[str, Kind | None]) -> str:
    """The prediction column that says most about what the model says: a probability before a class.

    Empty: there is no number, or there are several classes, which have no mean.

    Args:
        kinds: The kind of each prediction column.
    """
    if any(name.startswith("probability_") for name in kinds):
        return ""

    numbers = [name for name, kind in kinds.items() if kind == "number"]
    return next((name for name in SCORE_COLUMNS if name in numbers), "")
