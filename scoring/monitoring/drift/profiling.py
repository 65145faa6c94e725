"""Decides which columns a run profiles, and over whose bins."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from nightscore.engine.shard import ShardResult
from nightscore.monitoring.drift.references import References
from nightscore.profiles.class_counter import ClassColumns
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import (
    BinsToCut,
    ProfiledColumn,
    ProfileSpec,
    SegmentColumn,
    match_column,
    match_segments,
)
from nightscore.profiles.table import ColumnProfile, Role, from_bytes, from_stream, merge_profiles
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob


@dataclass(frozen=True, slots=True)
class ColumnsWithoutBins:
    """Columns and segments that no reference has: the first rows give them bins."""

    columns: tuple[tuple[Role, str], ...]
    segments: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """For a message."""
        names = [name for _, name in self.columns]
        return names + [f"segments of {name}" for name in self.segments]

    def to_cut(self, contract: Contract) -> BinsToCut:
        """The same, for a single shard that cuts them itself."""
        columns = tuple(ProfiledColumn(role, name, None) for role, name in self.columns)
        return BinsToCut(with_types(columns, contract), self.segments)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A column that may be profiled."""

    role: Role
    name: str
    arrow_type: pa.DataType


def choose_columns(
    job: ScoringJob,
    contract: Contract,
    references: References,
    resumed: Sequence[ShardResult],
) -> tuple[ProfileSpec, ColumnsWithoutBins]:
    """The columns to profile, and those that have no bins yet.

    Args:
        job: The job.
        contract: Names and types of the columns.
        references: Whose bins are taken. Columns that cannot be profiled are noted here.
        resumed: Shards of an earlier attempt. Their bins come first: theirs are to be added up.
    """
    resumed_profiles, _ = merge_profiles(profile_of(result) for result in resumed)
    known_bins = references.bins | resumed_profiles

    references.unwatched = {}
    columns: list[ProfiledColumn] = []
    new_columns: list[tuple[Role, str]] = []
    for candidate in _candidates(job, contract):
        role, name, arrow_type = candidate.role, candidate.name, candidate.arrow_type
        if kind_of(arrow_type) is None:
            references.unwatched[name] = f"{arrow_type} is not profiled"
            continue

        column = match_column(role, name, known_bins, arrow_type)
        if column is None:
            new_columns.append((role, name))
        else:
            columns.append(column)

    segments: list[SegmentColumn] = []
    new_segments: list[str] = []
    for name in dict.fromkeys(job.drift.segments):
        segment = match_segments(name, known_bins)
        if segment is None:
            new_segments.append(name)
        else:
            segments.append(segment)

    spec = ProfileSpec(
        tuple(columns),
        tuple(segments),
        classes=ClassColumns.of([column.name for column in contract.predictions]),
        max_share=job.drift.max_share,
    )
    return spec, ColumnsWithoutBins(tuple(new_columns), tuple(new_segments))


def _candidates(job: ScoringJob, contract: Contract) -> Iterator[_Candidate]:
    """Features, predictions, and those columns passed through that the job names."""
    for feature in contract.features:
        yield _Candidate("feature", feature.name, feature.type)

    for prediction in contract.predictions:
        yield _Candidate("prediction", prediction.name, prediction.type)

    named = {*job.drift.columns, *job.drift.segments}
    for column in contract.passthrough:
        if column.name in named:
            yield _Candidate("pass_through", column.name, column.type)


def with_types(columns: Sequence[ProfiledColumn], contract: Contract) -> tuple[ProfiledColumn, ...]:
    """The columns, with the types that they have in the files."""
    predictions = {column.name: str(column.type) for column in contract.predictions}
    types = dict(contract.types) | predictions

    typed = []
    for column in columns:
        typed.append(replace(column, type=types.get(column.name, "")))
    return tuple(typed)


def profile_of(result: ShardResult) -> list[ColumnProfile]:
    """The profiles of a shard's columns.

    Raises:
        ValueError: A checkpoint has another file in place of a profile.
    """
    if result.counted:
        return from_stream(result.counted)
    return from_bytes(base64.b64decode(result.profile))
