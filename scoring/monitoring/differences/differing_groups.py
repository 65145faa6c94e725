"""Where predictions differ most: the segment or part of a feature that stands out."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from nightscore.profiles.differences.exact_sums import to_fraction
from nightscore.profiles.differences.group_counts import GroupColumn, GroupCounts
from nightscore.schemas.difference import GroupRecord

MOST_GROUPS = 20
"""That a record has."""
LEAST_ROWS = 30
"""Rows of a group that is named, at least: the mean of fewer says little."""
LEAST_RATIO = 1.5
"""Times the mean difference elsewhere, at least, of what a sentence names."""
LEAST_Z = 4.0
"""Standard errors between the means, at least, of what a sentence names: there are many groups."""
MOST_SHARE = 0.5
"""Of the rows, of what a sentence names: where most rows are is not where they differ."""


_Stretch = tuple[int, int]
"""The first group of a part, and the one after its last."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of the rows of some groups."""

    sampled: int = 0
    rows: int = 0
    total: float = 0.0
    absolute: float = 0.0
    square: float = 0.0
    to_positive: int = 0
    to_negative: int = 0

    @property
    def mean_absolute(self) -> float:
        return self.absolute / self.rows if self.rows else 0.0

    @property
    def error(self) -> float:
        """The squared standard error of the mean size."""
        if self.sampled < 2:
            return math.inf
        variance = self.square / self.rows - self.mean_absolute**2
        return max(variance, 0.0) / (self.sampled - 1)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the rows, by one column."""

    record: GroupRecord
    gain: float
    """What the split into this part and the rest explains of the sizes' sum of squares."""
    z: float
    """Standard errors between the two means."""
    is_group: bool
    """Whether it is one group, not several bins at one end."""


def group_records(
    groups: Sequence[GroupCounts], *, has_threshold: bool
) -> tuple[GroupRecord | None, tuple[GroupRecord, ...]]:
    """Where predictions differ most, and the groups that differ most from the rest.

    The part is the best first split of a regression tree of the size of the difference: of all
    groups, and of all bins at one end of a feature, it explains most of the sum of squares.

    Source: L. Breiman et al., "Classification and Regression Trees" (1984), 8.4.

    Args:
        groups: By column.
        has_threshold: Whether scores decide.
    """
    parts: list[_Part] = []
    for one in groups:
        stretches = chain(_single(one.column), _at_an_end(one.column))
        parts += _parts(one, stretches, has_threshold=has_threshold)

    parts.sort(key=lambda part: -part.gain)

    named = [part.record for part in parts if _stands_out(part)]
    single = [part.record for part in parts if part.is_group and (part.record.ratio or 0) > 1]
    return (named[0] if named else None), tuple(single[:MOST_GROUPS])


def all_groups(groups: GroupCounts, *, has_threshold: bool) -> tuple[GroupRecord, ...]:
    """Each group of a column that has rows, in the order of its bins or values."""
    single = _single(groups.column)
    parts = _parts(groups, single, has_threshold=has_threshold, least_rows=1)
    return tuple(part.record for part in parts)


def _stands_out(part: _Part) -> bool:
    ratio = part.record.ratio
    is_far = ratio is None or ratio >= LEAST_RATIO
    return is_far and part.z >= LEAST_Z and part.record.share <= MOST_SHARE


def _parts(
    groups: GroupCounts,
    stretches: Iterable[_Stretch],
    *,
    has_threshold: bool,
    least_rows: int = LEAST_ROWS,
) -> Iterator[_Part]:
    whole = _sums(groups, 0, groups.column.n_groups)
    for first, end in stretches:
        inside = _sums(groups, first, end)
        if inside.sampled < least_rows or inside.rows == whole.rows:
            continue

        outside = _minus(whole, inside)
        record = _record(groups.column, (first, end), inside, outside)
        if has_threshold:
            record = _with_decisions(record, inside)

        distance = inside.mean_absolute - outside.mean_absolute
        error = math.sqrt(inside.error + outside.error)

        share = record.share
        gain = whole.rows * share * (1 - share) * distance**2
        z = distance / error if error else math.copysign(math.inf, distance or -1.0)
        yield _Part(record, gain if distance > 0 else -gain, z, end - first == 1)


def _single(column: GroupColumn) -> Iterator[_Stretch]:
    """Every group by itself."""
    for group in range(column.n_groups):
        yield group, group + 1


def _at_an_end(column: GroupColumn) -> Iterator[_Stretch]:
    """Several bins of numbers at one end."""
    if column.is_numeric:
        n_bins = len(column.edges) + 1
        for edge in range(2, n_bins):
            yield 0, edge
        for edge in range(1, n_bins - 1):
            yield edge, n_bins


def _sums(groups: GroupCounts, first: int, end: int) -> _Sums:
    chosen = slice(first, end)
    return _Sums(
        sampled=sum(groups.sampled[chosen]),
        rows=sum(groups.rows[chosen]),
        total=float(to_fraction(sum(groups.totals[chosen]))),
        absolute=float(to_fraction(sum(groups.absolutes[chosen]))),
        square=float(to_fraction(sum(groups.squares[chosen]))),
        to_positive=sum(groups.to_positive[chosen]),
        to_negative=sum(groups.to_negative[chosen]),
    )


def _minus(whole: _Sums, part: _Sums) -> _Sums:
    return _Sums(
        sampled=whole.sampled - part.sampled,
        rows=whole.rows - part.rows,
        total=whole.total - part.total,
        absolute=max(whole.absolute - part.absolute, 0.0),
        square=max(whole.square - part.square, 0.0),
    )


def _record(column: GroupColumn, stretch: _Stretch, inside: _Sums, outside: _Sums) -> GroupRecord:
    value = above = up_to = None
    first, end = stretch
    n_bins = len(column.edges) + 1

    if not column.is_numeric or first == n_bins:
        value = column.label(first)
    else:
        above = column.edges[first - 1] if first else None
        up_to = column.edges[end - 1] if end < n_bins else None

    return GroupRecord(
        kind=column.kind,
        column=column.name,
        value=value,
        above=above,
        up_to=up_to,
        n=inside.sampled,
        share=inside.rows / (inside.rows + outside.rows),
        mean=inside.total / inside.rows,
        mean_absolute=inside.mean_absolute,
        elsewhere=outside.mean_absolute,
    )


def _with_decisions(record: GroupRecord, inside: _Sums) -> GroupRecord:
    shares = {
        "share_to_positive": inside.to_positive / inside.rows,
        "share_to_negative": inside.to_negative / inside.rows,
    }
    return record.model_copy(update=shares)
