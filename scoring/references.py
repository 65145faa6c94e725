"""What a partition can be compared with: the model's baseline, the partitions before; from stored profiles alone."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from schemas.job import ScoringJob
from schemas.manifest import Manifest
from schemas.partition import show_value
from scoring.engine.prepare import PinnedModel
from scoring.errors import ModelDigestError, ScoringError
from scoring.inputs.partitions import partition_date
from scoring.models.baseline import fetch_baseline
from scoring.models.cache import ModelCache
from scoring.monitoring.findings import HABIT_DAYS
from scoring.monitoring.table import ColumnProfile, Habit, Key, from_bytes, merge_profiles
from scoring.outputs.layout import state_store
from scoring.outputs.manifests import earlier_publications, earlier_values, publication

WEEKS = 4
"""Weeks whose same weekdays are pooled."""

Habits = dict[Key, Habit]


@dataclass(slots=True)
class References:
    """What a partition can be compared with, from stored profiles alone."""

    profiles: dict[str, list[ColumnProfile]] = field(default_factory=dict)
    """By reference: `baseline`, `weekdays`, `previous`."""
    names: dict[str, str] = field(default_factory=dict)
    previous: Manifest | None = None
    before: Manifest | None = None
    """The newest of a partition before that compared its columns, held or published: it says since when."""
    weekdays: tuple[Manifest, ...] = ()
    habits: Habits = field(default_factory=dict)
    """How far each column was from the same baseline in the partitions before."""
    warnings: tuple[str, ...] = ()
    features: frozenset[str] = frozenset()
    """That this partition has, whether or not they could be profiled."""
    unwatched: dict[str, str] = field(default_factory=dict)
    """Columns of types that nobody can count, and why."""

    @property
    def bins(self) -> dict[Key, ColumnProfile]:
        """The columns over whose bins the partition is counted: the baseline's, else those of the run before."""
        found: dict[Key, ColumnProfile] = {}
        for name in ("previous", "weekdays", "baseline"):
            found |= {column.key: column for column in self.profiles.get(name, ())}
        return found


def find_references(job: ScoringJob, value: str | None, model: PinnedModel, cache: ModelCache) -> References:
    """The model's baseline, the partition before, the same weekdays. One that cannot be had is a warning."""
    found = References()
    warnings = []
    try:
        baseline = fetch_baseline(model.version, job.registry, cache)
        if baseline is not None:
            found.profiles["baseline"] = from_bytes(baseline[1])
            found.names["baseline"] = baseline[0]
    except ModelDigestError:
        raise
    except (ScoringError, ValueError) as error:
        warnings.append(f"no comparison with the model's baseline: {error}")
    state, key = state_store(job), job.input.partition_key
    found.previous = next((m for m in earlier_publications(state, key, value) if m.drift and m.drift.profile), None)
    waiting = earlier_publications(state, key, value, or_held=True)
    found.before = next((m for m in waiting if m.drift is not None), None)
    if found.previous is not None:
        found.profiles["previous"] = _stored(job, [found.previous])
        found.names["previous"] = found.previous.run_id
    day = partition_date(job, value)
    days = [day - timedelta(weeks=week) for week in range(1, WEEKS + 1)] if day else []
    earlier = [publication(state, key, date.strftime(job.input.partition_format)) for date in days]
    weekdays = [m for m in earlier if m is not None and m.drift is not None and m.drift.profile]
    found.weekdays = tuple(weekdays)
    if weekdays and (pooled := _stored(job, weekdays)):
        found.profiles["weekdays"] = pooled
        found.names["weekdays"] = ", ".join(m.run_id for m in weekdays)
    if "baseline" in found.names and found.previous is not None:
        found.habits = _habits(job, value, found.names["baseline"], found.previous, found.profiles["previous"])
    found.profiles = {name: columns for name, columns in found.profiles.items() if columns}
    found.names = {name: text for name, text in found.names.items() if name in found.profiles}
    found.warnings = tuple(warnings)
    return found


def _habits(
    job: ScoringJob, value: str | None, baseline: str, previous: Manifest, columns: Sequence[ColumnProfile]
) -> Habits:
    """Each run hands on what the runs before it had found: one profile tells of four weeks.

    Partitions that are not in it, since they were scored later than they should, are looked up themselves.
    """
    found: dict[Key, dict[str, Mapping[str, float]]] = {}
    known: set[str] = set()

    def add(manifest: Manifest, profiles: Sequence[ColumnProfile], *, own: bool) -> None:
        if manifest.drift is None or manifest.drift.references.get("baseline") != baseline:
            return
        mine = show_value(manifest.partition)
        for column in profiles:
            for partition, distance in column.recent.items():
                if not own or partition == mine:
                    known.add(partition)
                    found.setdefault(column.key, {})[partition] = distance

    add(previous, columns, own=False)
    state = state_store(job)
    for partition in earlier_values(state, value)[:HABIT_DAYS]:
        if partition not in known:
            manifest = publication(state, job.input.partition_key, partition)
            if manifest is not None and manifest.drift and manifest.drift.references.get("baseline") == baseline:
                add(manifest, _stored(job, [manifest]), own=True)
    return {**found}


def _stored(job: ScoringJob, manifests: Sequence[Manifest]) -> list[ColumnProfile]:
    """The sum of the runs' profiles; those that are gone are left out."""
    state, parts = state_store(job), []
    for manifest in manifests:
        with contextlib.suppress(ScoringError, ValueError):
            assert manifest.drift is not None  # noqa: S101
            parts.append(from_bytes(state.read_bytes(manifest.drift.profile)))
    return parts[0] if len(parts) == 1 else list(merge_profiles(parts)[0].values())
