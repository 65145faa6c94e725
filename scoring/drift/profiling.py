"""Decides which columns a run profiles, and over whose bins."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from nightscore.drift.references import References
from nightscore.engine.shard import ShardResult
from nightscore.profiles.profile import kind_of
from nightscore.profiles.profile_spec import (
    ProfiledColumn,
    ProfileSpec,
    match_column,
    match_segments,
)
from nightscore.profiles.table import ColumnProfile, Role, from_bytes, merge_profiles
from nightscore.schemas.contract import Contract
from nightscore.schemas.job import ScoringJob


@dataclass(frozen=True, slots=True)
class Unknown:
    """Columns and segments without bins: the first rows give them some."""

    columns: tuple[tuple[Role, str], ...]
    segments: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """For a message."""
        segments = [f"segments of {name}" for name in self.segments]
        return [*(name for _, name in self.columns), *segments]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A column that may be profiled."""

    role: Role
    name: str
    arrow_type: pa.DataType


def watch(
    job: ScoringJob,
    contract: Contract,
    references: References,
    resumed: Sequence[ShardResult],
) -> tuple[ProfileSpec, Unknown]:
    """The columns to profile, and those that have no bins yet.

    Args:
        job: The job.
        contract: Names and types of the columns.
        references: Whose bins are taken. Columns that cannot be profiled are noted here.
        resumed: Shards of an earlier attempt. Their bins come first: theirs are to be added up.
    """
    resumed_profiles, _ = merge_profiles(profile_of(result) for result in resumed)
    like = references.bins | resumed_profiles
    candidates = _candidates(job, contract)
    profiled = [column for column in candidates if kind_of(column.arrow_type) is not None]
    references.unwatched = {
        column.name: f"{column.arrow_type} is not profiled"
        for column in candidates
        if kind_of(column.arrow_type) is None
    }

    columns = {
        (column.role, column.name): match_column(column.role, column.name, like, column.arrow_type)
        for column in profiled
    }
    segments = {name: match_segments(name, like) for name in job.drift.segments}
    known = ProfileSpec(
        tuple(column for column in columns.values() if column is not None),
        tuple(segment for segment in segments.values() if segment is not None),
        max_share=job.drift.max_share,
    )

    unknown = Unknown(
        tuple(key for key, column in columns.items() if column is None),
        tuple(name for name, segment in segments.items() if segment is None),
    )

    return known, unknown


def _candidates(job: ScoringJob, contract: Contract) -> list[_Candidate]:
    """Features, predictions, and those columns passed through that the job names."""
    named = {*job.drift.columns, *job.drift.segments}
    passed_through = [column for column in contract.passthrough if column.name in named]
    roles: list[tuple[Role, Sequence[pa.Field]]] = [
        ("feature", contract.features),
        ("prediction", contract.predictions),
        ("pass_through", passed_through),
    ]

    return [
        _Candidate(role, column.name, column.type) for role, columns in roles for column in columns
    ]


def with_types(columns: Sequence[ProfiledColumn], contract: Contract) -> tuple[ProfiledColumn, ...]:
    """The columns, with the types that they have in the files."""
    predictions = {column.name: str(column.type) for column in contract.predictions}
    types = dict(contract.types) | predictions
    return tuple(replace(column, type=types.get(column.name, "")) for column in columns)


def profile_of(result: ShardResult) -> list[ColumnProfile]:
    """The profiles of a shard's columns."""
    return from_bytes(base64.b64decode(result.profile))
