"""Compares a partition's columns with each of its references."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nightscore.monitoring.drift.grade import NamedPairs, compare_groups
from nightscore.monitoring.drift.impact import impact
from nightscore.monitoring.drift.measure import pair_up
from nightscore.monitoring.drift.statistics.shared.columns import ColumnPair
from nightscore.profiles.table import ColumnProfile, Key
from nightscore.schemas.drift import REFERENCES, ColumnDrift

Profiles = dict[Key, ColumnProfile]


@dataclass(slots=True)
class Comparison:
    """A partition against one reference."""

    columns: dict[Key, ColumnDrift] = field(default_factory=dict)
    impacts: dict[Key, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """Columns that could not be compared, and why."""


References = Mapping[str, Sequence[ColumnProfile]]
"""The profiles of each reference, by its name."""


def compare_profiles(
    current: Sequence[ColumnProfile], references: References
) -> dict[str, Comparison]:
    """Each column against each reference that has it over the same bins.

    Segments, which are many, are compared with the first reference that has any.
    """
    return compare_several([(current, references)])[0]


def compare_several(
    partitions: Sequence[tuple[Sequence[ColumnProfile], References]],
) -> list[dict[str, Comparison]]:
    """Several partitions, each with references of its own, measured at once.

    It says the same as if they were compared one after another, in two thirds of the time.
    """
    compared: list[dict[str, Comparison]] = []
    column_sets: list[_ColumnSet] = []

    for current, references in partitions:
        comparisons: dict[str, Comparison] = {name: Comparison() for name in references}
        compared.append(comparisons)
        column_sets += _column_sets(current, references, comparisons)

    groups = [columns.named_pairs() for columns in column_sets]
    for columns, drifts in zip(column_sets, compare_groups(groups), strict=True):
        columns.add(drifts)

    return compared


def _column_sets(
    current: Sequence[ColumnProfile],
    references: References,
    comparisons: Mapping[str, Comparison],
) -> Iterator["_ColumnSet"]:
    """The columns of a partition that are compared together; the comparisons learn of others."""
    all_columns = {column.key: column for column in current}
    whole_columns = {column.key: column for column in current if not column.segment}
    with_segments = _first_with_segments(references)

    for name, profiles in references.items():
        reference = {column.key: column for column in profiles}
        comparison = comparisons[name]

        compared = all_columns if name == with_segments else whole_columns
        pairs = _pair_up(reference, compared, comparison)

        # Significance is corrected for segments apart: they are many, and depend on the whole.
        whole_keys: list[Key] = []
        segment_keys: list[Key] = []

        for key in pairs:
            _, _, segment = key
            (segment_keys if segment else whole_keys).append(key)

        for keys in (whole_keys, segment_keys):
            yield _ColumnSet(comparison, reference, all_columns, keys, pairs)


@dataclass(frozen=True, slots=True)
class _ColumnSet:
    """Columns of one reference that are compared together."""

    comparison: Comparison
    reference: Profiles
    current: Profiles
    keys: list[Key]
    pairs: Mapping[Key, ColumnPair]

    def named_pairs(self) -> NamedPairs:
        """The pairs with their names, which occur several times, with other roles and segments."""
        return [(name, self.pairs[role, name, segment]) for role, name, segment in self.keys]

    def add(self, drifts: Sequence[ColumnDrift]) -> None:
        """Hand the results to the comparison."""
        for key, drift in zip(self.keys, drifts, strict=True):
            role, _, _ = key
            self.comparison.columns[key] = drift

            scores = self.reference[key].scores
            if scores is not None and role == "feature":
                self.comparison.impacts[key] = impact(scores, self.current[key])


def _first_with_segments(references: References) -> str | None:
    for name in REFERENCES:
        if any(column.segment for column in references.get(name, ())):
            return name
    return None


def _pair_up(
    reference: Profiles, current: Profiles, comparison: Comparison
) -> dict[Key, ColumnPair]:
    """The columns that can be compared; the comparison learns why others cannot."""
    pairs: dict[Key, ColumnPair] = {}
    new_names: set[str] = set()

    for key, column in current.items():
        if key not in reference:
            if not column.segment:
                new_names.add(column.name)
            continue

        try:
            pairs[key] = pair_up(reference[key].profile, column.profile, column.type)
        except ValueError as error:
            comparison.errors[column.name] = str(error)

    comparison.errors |= dict.fromkeys(sorted(new_names), "the reference does not have it")
    return pairs
