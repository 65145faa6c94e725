"""What a partition can be compared with: the model's baseline, the partitions before; from stored profiles alone."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nightscore.drift.seasonal import HABIT_DAYS
from nightscore.errors import ModelDigestError, ScoringError
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.models.baseline import fetch_baseline
from nightscore.models.cache import ModelCache
from nightscore.models.pinned import PinnedModel
from nightscore.models.registry import resolve
from nightscore.profiles.table import ColumnProfile, Habit, Key, from_bytes, merge_profiles
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import show_value

PARSED = 8
"""Bytes in memory for each one of a stored profile, which is compressed."""

Habits = dict[Key, Habit]
Baseline = tuple[str, list[ColumnProfile]]
"""Its sha256 and its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The runs that a partition is compared with: which they are depends on nothing but what is published."""

    baseline: str = ""
    """sha256 of the model's baseline; empty: it has none."""
    previous: Manifest | None = None
    """Of the nearest partition before that has a profile."""
    before: Manifest | None = None
    """The newest of a partition before that compared its columns, held or published: it says since when."""
    compared_before: DriftRecord | None = None
    """Its newest comparison."""
    weekdays: tuple[Manifest, ...] = ()
    habit_runs: dict[str, str] = field(default_factory=dict)
    """Partition to run, of the partitions before that say what is usual."""

    @property
    def names(self) -> dict[str, str]:
        """As a record has it."""
        found = {"baseline": self.baseline} if self.baseline else {}
        if self.weekdays:
            found["weekdays"] = ", ".join(m.run_id for m in self.weekdays)
        if self.previous is not None:
            found["previous"] = self.previous.run_id
        return found

    @property
    def days(self) -> dict[str, tuple[str, ...]]:
        """The partitions that they stand for."""
        found = {}
        if self.weekdays:
            found["weekdays"] = tuple(show_value(m.partition) for m in self.weekdays)
        if self.previous is not None:
            found["previous"] = (show_value(self.previous.partition),)
        return found

    @property
    def digest(self) -> str:
        """sha256 over all of it that a comparison can depend on."""
        parts = [self.names, self.habit_runs, findings_digest(self.compared_before)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def findings_digest(drift: DriftRecord | None) -> str:
    """Of what the next partition's comparison takes from this one: which findings go on, and since when."""
    if drift is None:
        return ""
    found = [(f.role, f.column, f.severity, f.is_seasonal, f.since) for f in drift.findings]
    return hashlib.sha256(json.dumps(sorted(found, key=str)).encode()).hexdigest()


@dataclass(slots=True)
class References:
    """What a partition can be compared with, from stored profiles alone."""

    neighbours: Neighbours = field(default_factory=Neighbours)
    profiles: dict[str, list[ColumnProfile]] = field(default_factory=dict)
    """By reference: `baseline`, `weekdays`, `previous`."""
    later: list[ColumnProfile] = field(default_factory=list)
    """Of the nearest partition after, where there is nothing else whose bins could be taken."""
    names: dict[str, str] = field(default_factory=dict)
    habits: Habits = field(default_factory=dict)
    """How far each column was from the same baseline in the partitions before."""
    warnings: tuple[str, ...] = ()
    features: frozenset[str] | None = frozenset()
    """That this partition has, whether or not they could be profiled; None: nobody can tell."""
    unwatched: dict[str, str] = field(default_factory=dict)
    """Columns of types that nobody can count, and why."""

    @property
    def previous(self) -> Manifest | None:
        return self.neighbours.previous

    @property
    def weekdays(self) -> tuple[Manifest, ...]:
        return self.neighbours.weekdays

    @property
    def days(self) -> dict[str, tuple[str, ...]]:
        """The partitions behind the references, as far as these could be read."""
        return {name: days for name, days in self.neighbours.days.items() if name in self.names}

    @property
    def bins(self) -> dict[Key, ColumnProfile]:
        """The columns over whose bins the partition is counted: the baseline's, else those of the run before."""
        found: dict[Key, ColumnProfile] = {column.key: column for column in self.later}
        for name in ("previous", "weekdays", "baseline"):
            found |= {column.key: column for column in self.profiles.get(name, ())}
        return found


def find_references(
    workspace: Workspace,
    value: str | None,
    model: PinnedModel,
    cache: ModelCache,
) -> References:
    """The model's baseline, the partition before, the same weekdays. One that cannot be had is a warning.

    The store says which runs these are. Records and profiles of published runs may come from the run cache.
    """
    baseline: Baseline | None = None
    warnings = []
    try:
        baseline = _baseline(workspace, model, cache)
    except ModelDigestError:
        raise
    except (ScoringError, ValueError) as error:
        warnings.append(f"no comparison with the model's baseline: {error}")

    timeline = Timeline(workspace)
    neighbours = find_neighbours(timeline, value, baseline[0] if baseline else "")
    found = read_references(timeline, value, neighbours, baseline)
    if not found.profiles:
        found.later = _later_profile(timeline, value)
    found.warnings = (*warnings, *found.warnings)
    return found


def find_neighbours(timeline: Timeline, value: str | None, baseline: str) -> Neighbours:
    """The runs that a partition is compared with, as the store has them now; no profile is read.

    `previous` is the nearest partition before that has a profile, however far it is: its day is named, and the
    comparison is made again when a nearer one is published.
    """
    earlier = timeline.before(value)
    previous = before = None
    for other in earlier:
        published, waiting = timeline.results(other)
        if (
            previous is None
            and published is not None
            and published.drift
            and published.drift.profile
        ):
            previous = published
        if before is None and waiting is not None and waiting.drift is not None:
            before = waiting
        if previous is not None and before is not None:
            break

    results = [timeline.results(other)[0] for other in timeline.weekdays_before(value)]
    weekdays = tuple(
        m for m in results if m is not None and m.drift is not None and m.drift.profile
    )
    habit_runs = {}
    if baseline and previous is not None:
        habit_runs = _habit_runs(timeline, earlier[:HABIT_DAYS], previous)
    return Neighbours(
        baseline=baseline,
        previous=previous,
        before=before,
        compared_before=timeline.comparison(before) if before is not None else None,
        weekdays=weekdays,
        habit_runs=habit_runs,
    )


def _habit_runs(timeline: Timeline, window: Sequence[str], previous: Manifest) -> dict[str, str]:
    """Partition to its latest run. Those that the comparison before was up to date with are not asked for again."""
    newest = timeline.comparison(previous)
    known = dict(newest.habit_runs) if newest is not None else {}
    known[show_value(previous.partition)] = previous.run_id
    found = {}
    for partition in window:
        if partition in known and not timeline.knows(partition):
            found[partition] = known[partition]
            continue
        manifest, _ = timeline.results(partition)
        if manifest is not None and manifest.drift is not None:
            found[partition] = manifest.run_id
    return found


def read_references(
    timeline: Timeline, value: str | None, neighbours: Neighbours, baseline: Baseline | None
) -> References:
    """The neighbours' profiles; those that are gone are left out."""
    workspace = timeline.workspace
    profiles: dict[str, list[ColumnProfile]] = {}
    names = neighbours.names
    warnings: list[str] = []
    if baseline is not None:
        profiles["baseline"] = baseline[1]
    if neighbours.previous is not None:
        profiles["previous"] = _stored(workspace, [neighbours.previous], warnings)
    if neighbours.weekdays:
        profiles["weekdays"] = _stored(workspace, neighbours.weekdays, warnings)
    habits: Habits = {}
    if baseline is not None and neighbours.previous is not None:
        habits = _habits(timeline, neighbours, neighbours.previous, profiles["previous"], warnings)
    return References(
        neighbours=neighbours,
        profiles={name: columns for name, columns in profiles.items() if columns},
        names={name: text for name, text in names.items() if profiles.get(name)},
        habits=habits,
        warnings=tuple(warnings),
    )


def _later_profile(timeline: Timeline, value: str | None) -> list[ColumnProfile]:
    """Of the nearest partition after that has one: over its bins the days can be compared, whichever came first."""
    for other in timeline.after(value):
        published, _ = timeline.results(other)
        if published is not None and published.drift is not None and published.drift.profile:
            return _stored(timeline.workspace, [published], [])
    return []


def _baseline(workspace: Workspace, model: PinnedModel, cache: ModelCache) -> Baseline | None:
    """The sha256 and the columns; what the version's tag says is their key."""

    def read() -> tuple[tuple[str, list[ColumnProfile]], int]:
        fetched = fetch_baseline(model.version, workspace.job.registry, cache)
        assert fetched is not None  # noqa: S101 (the version has a tag)
        return (fetched[0], from_bytes(fetched[1])), PARSED * len(fetched[1])

    tag = model.version.baseline_tag
    if tag is None:
        return None
    return workspace.run_cache.read_once(("baseline", tag), tuple, read)


def _habits(
    timeline: Timeline,
    neighbours: Neighbours,
    previous: Manifest,
    profiles: Sequence[ColumnProfile],
    warnings: list[str],
) -> Habits:
    """Each run hands on what the runs before it had found: one profile tells of four weeks.

    What it hands on of a partition that has another result by now, or was scored later than it should, is read from
    that partition's own profile.
    """
    found: dict[Key, dict[str, Mapping[str, float]]] = {}
    mine = show_value(previous.partition)
    own_drift = previous.drift
    handed: dict[str, str] = {}
    if own_drift is not None and own_drift.references.get("baseline") == neighbours.baseline:
        handed = own_drift.habit_runs | {mine: previous.run_id}
    is_handed_on = {p for p, run_id in neighbours.habit_runs.items() if handed.get(p) == run_id}
    for column in profiles:
        for partition, distance in column.recent.items():
            if partition in is_handed_on:
                found.setdefault(column.key, {})[partition] = distance

    for partition in neighbours.habit_runs.keys() - is_handed_on:
        manifest, _ = timeline.results(partition)
        if manifest is None or not manifest.drift:
            continue
        if manifest.drift.references.get("baseline") != neighbours.baseline:
            continue
        for column in _stored(timeline.workspace, [manifest], warnings):
            if partition in column.recent:
                found.setdefault(column.key, {})[partition] = column.recent[partition]
    return {**found}


def stored_baseline(
    workspace: Workspace, manifest: Manifest, cache: ModelCache
) -> list[ColumnProfile]:
    """The baseline that a run was compared with; none if its model version has another one by now.

    Raises:
        ScoringError: The registry does not answer.
        ValueError: It is no profile.
    """
    registry = workspace.job.registry
    known = manifest.drift.references.get("baseline", "") if manifest.drift else ""
    if not known:
        return []

    def read() -> tuple[list[ColumnProfile], int]:
        content = cache.baseline(known)
        if content is None:
            uri = f"models:/{manifest.model.name}/{manifest.model.version}"
            fetched = fetch_baseline(resolve(uri, registry), registry, cache)
            content = fetched[1] if fetched and fetched[0] == known else b""
        return (from_bytes(content) if content else [], PARSED * len(content))

    return workspace.run_cache.read_once(("baseline's columns", known), list, read)


def stored_profile(workspace: Workspace, path: str) -> list[ColumnProfile]:
    """A run's profile. It is shared with others: not to be changed.

    Raises:
        ScoringError: It cannot be read.
        ValueError: It is no profile.
    """
    state = workspace.state

    def read() -> tuple[list[ColumnProfile], int]:
        content = state.read_bytes(path)
        return from_bytes(content), PARSED * len(content)

    # The path names the run, which is published: nobody writes it again.
    return workspace.run_cache.read_once(("profile", state.url, path), list, read)


def _stored(
    workspace: Workspace, manifests: Sequence[Manifest], warnings: list[str]
) -> list[ColumnProfile]:
    """The sum of the runs' profiles; those that are gone are left out, and those that cannot be read with a word."""
    parts = []
    for manifest in manifests:
        assert manifest.drift is not None  # noqa: S101
        path = manifest.drift.profile
        with contextlib.suppress(ScoringError):
            try:
                parts.append(stored_profile(workspace, path))
            except ValueError as error:
                place = workspace.state.locate_url(path)
                note = f"no comparison with the profile {place}: {str(error)[:200]}"
                warnings += [note] if note not in warnings else []
    return parts[0] if len(parts) == 1 else list(merge_profiles(parts)[0].values())
