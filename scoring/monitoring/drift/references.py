"""What a partition can be compared with: the model's baseline and earlier partitions.

Stored profiles are all that is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nightscore.errors import ModelDigestError, ScoringError
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.monitoring.drift.neighbours import Neighbours, find_neighbours, has_profile
from nightscore.monitoring.drift.stored_profiles import Baseline, current_baseline, merged_profile
from nightscore.profiles.table import ColumnProfile, Habit, Key
from nightscore.schemas.manifest import Manifest
from nightscore.schemas.partition import show_value

Habits = dict[Key, Habit]


@dataclass(slots=True, kw_only=True)
class References:
    """What a partition can be compared with."""

    neighbours: Neighbours = field(default_factory=Neighbours)
    profiles: dict[str, list[ColumnProfile]] = field(default_factory=dict)
    """By reference: `baseline`, `weekdays`, `previous`."""
    later: list[ColumnProfile] = field(default_factory=list)
    """Of the nearest later partition, if nothing else has bins to count over."""
    names: dict[str, str] = field(default_factory=dict)
    """The references that have a profile, as a record states them."""
    habits: Habits = field(default_factory=dict)
    """How far each column was from the same baseline in earlier partitions."""
    warnings: tuple[str, ...] = ()
    features: frozenset[str] | None = frozenset()
    """Features of this partition, whether or not they could be profiled; None: not known."""
    unwatched: dict[str, str] = field(default_factory=dict)
    """Columns whose type cannot be profiled, and why."""

    @property
    def previous(self) -> Manifest | None:
        """The nearest earlier partition that has a profile."""
        return self.neighbours.previous

    @property
    def weekdays(self) -> tuple[Manifest, ...]:
        """The same weekdays of the weeks before."""
        return self.neighbours.weekdays

    @property
    def days(self) -> dict[str, tuple[str, ...]]:
        """The partitions behind the references, as far as these could be read."""
        return {name: days for name, days in self.neighbours.days.items() if name in self.names}

    @property
    def bins(self) -> dict[Key, ColumnProfile]:
        """Columns whose bins the partition is counted over: the baseline's, else earlier ones'."""
        bins: dict[Key, ColumnProfile] = {column.key: column for column in self.later}
        for name in ("previous", "weekdays", "baseline"):
            bins |= {column.key: column for column in self.profiles.get(name, ())}
        return bins


def find_references(
    workspace: Workspace, value: str | None, model: PinnedModel, cache: ModelCache
) -> References:
    """The model's baseline, the partition before and the same weekdays.

    The store says which runs these are. Records and profiles of published runs may come from the
    run cache. A reference that cannot be had is a warning.

    Raises:
        ModelDigestError: The baseline is not the one that its version names.
    """
    baseline: Baseline | None = None
    warnings = []
    try:
        baseline = current_baseline(workspace, model, cache)
    except ModelDigestError:
        raise
    except (ScoringError, ValueError) as error:
        warnings.append(f"no comparison with the model's baseline: {error}")

    timeline = Timeline(workspace)
    neighbours = find_neighbours(timeline, value, baseline[0] if baseline else "")
    references = read_references(timeline, neighbours, baseline)

    if not references.profiles:
        references.later = _later_profile(timeline, value)

    references.warnings = (*warnings, *references.warnings)

    return references


def read_references(
    timeline: Timeline, neighbours: Neighbours, baseline: Baseline | None
) -> References:
    """The neighbours' profiles; those that are gone are left out."""
    workspace = timeline.workspace
    profiles: dict[str, list[ColumnProfile]] = {}
    warnings: list[str] = []

    if baseline is not None:
        profiles["baseline"] = baseline[1]

    if neighbours.previous is not None:
        profiles["previous"] = merged_profile(workspace, [neighbours.previous], warnings)

    if neighbours.weekdays:
        profiles["weekdays"] = merged_profile(workspace, neighbours.weekdays, warnings)

    habits: Habits = {}
    if baseline is not None and neighbours.previous is not None:
        habits = _read_habits(timeline, neighbours, profiles["previous"], warnings)

    profiles = {name: columns for name, columns in profiles.items() if columns}

    return References(
        neighbours=neighbours,
        profiles=profiles,
        names={name: text for name, text in neighbours.names.items() if name in profiles},
        habits=habits,
        warnings=tuple(warnings),
    )


def _later_profile(timeline: Timeline, value: str | None) -> list[ColumnProfile]:
    """The profile of the nearest later partition that has one.

    Over its bins the days can be compared, whichever was scored first.
    """
    for other in timeline.after(value):
        published = timeline.results(other).published
        if published is not None and has_profile(published):
            return merged_profile(timeline.workspace, [published], [])
    return []


def _read_habits(
    timeline: Timeline,
    neighbours: Neighbours,
    profiles: Sequence[ColumnProfile],
    warnings: list[str],
) -> Habits:
    """Distances of the columns from the baseline in earlier partitions.

    Each run hands on the distances of the runs before it, so that one profile covers four weeks.
    A partition that has another result by now, or was scored later than it should have been, is
    read from its own profile.

    Args:
        timeline: The job's partitions.
        neighbours: With the runs that say what is usual.
        profiles: Of the previous partition.
        warnings: Gets profiles that cannot be read.
    """
    habits: dict[Key, dict[str, Mapping[str, float]]] = {}
    handed_on = _handed_on(neighbours)

    for column in profiles:
        for partition, distances in column.recent.items():
            if partition in handed_on:
                habits.setdefault(column.key, {})[partition] = distances

    for partition in neighbours.habit_runs.keys() - handed_on:
        manifest = timeline.results(partition).published
        if manifest is None or not _has_baseline(manifest, neighbours.baseline):
            continue

        for column in merged_profile(timeline.workspace, [manifest], warnings):
            if partition in column.recent:
                habits.setdefault(column.key, {})[partition] = column.recent[partition]

    return {**habits}


def _handed_on(neighbours: Neighbours) -> set[str]:
    """Partitions whose distances the previous run hands on as they are today."""
    previous = neighbours.previous
    if previous is None or previous.drift is None:
        return set()
    if not _has_baseline(previous, neighbours.baseline):
        return set()

    runs = previous.drift.habit_runs | {show_value(previous.partition): previous.run_id}
    handed_on = set()
    for partition, run_id in neighbours.habit_runs.items():
        if runs.get(partition) == run_id:
            handed_on.add(partition)
    return handed_on


def _has_baseline(manifest: Manifest, baseline: str) -> bool:
    """Whether a run was compared with this baseline."""
    return manifest.drift is not None and manifest.drift.references.get("baseline") == baseline
