"""What a partition can be compared with: the model's baseline, the partitions before; from stored profiles alone."""

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from schemas.job import ScoringJob
from schemas.manifest import Manifest
from schemas.partition import show_value
from scoring.engine.prepare import PinnedModel
from scoring.errors import ModelDigestError, ScoringError
from scoring.inputs.partitions import partition_date
from scoring.kept import Kept, read_once
from scoring.models.baseline import fetch_baseline
from scoring.models.cache import ModelCache
from scoring.monitoring.findings import HABIT_DAYS
from scoring.monitoring.table import ColumnProfile, Habit, Key, from_bytes, merge_profiles
from scoring.outputs.layout import state_store
from scoring.outputs.manifests import earlier_values, latest_results

WEEKS = 4
"""Weeks whose same weekdays are pooled."""

PARSED = 8
"""Bytes in memory for each one of a stored profile, which is compressed."""

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


def find_references(
    job: ScoringJob, value: str | None, model: PinnedModel, cache: ModelCache, kept: Kept | None = None
) -> References:
    """The model's baseline, the partition before, the same weekdays. One that cannot be had is a warning.

    Which runs these are is asked of the store; of `kept` come records and profiles of runs that are published.
    """
    found = References()
    warnings = []
    try:
        baseline = _baseline(model, job, cache, kept)
        if baseline is not None:
            found.names["baseline"], found.profiles["baseline"] = baseline
    except ModelDigestError:
        raise
    except (ScoringError, ValueError) as error:
        warnings.append(f"no comparison with the model's baseline: {error}")
    state, key = state_store(job), job.input.partition_key
    earlier = earlier_values(state, value)
    for before in earlier:
        published, waiting = latest_results(state, key, before, kept)
        if found.previous is None and published is not None and published.drift and published.drift.profile:
            found.previous = published
        if found.before is None and waiting is not None and waiting.drift is not None:
            found.before = waiting
        if found.previous is not None and found.before is not None:
            break
    if found.previous is not None:
        found.profiles["previous"] = _stored(job, [found.previous], kept, warnings)
        found.names["previous"] = found.previous.run_id
    found.weekdays = tuple(_weekdays(job, value, set(earlier), kept))
    if found.weekdays and (pooled := _stored(job, found.weekdays, kept, warnings)):
        found.profiles["weekdays"] = pooled
        found.names["weekdays"] = ", ".join(m.run_id for m in found.weekdays)
    if "baseline" in found.names and found.previous is not None:
        found.habits = _habits(job, earlier, found, kept, warnings)
    found.profiles = {name: columns for name, columns in found.profiles.items() if columns}
    found.names = {name: text for name, text in found.names.items() if name in found.profiles}
    found.warnings = tuple(warnings)
    return found


def _baseline(
    model: PinnedModel, job: ScoringJob, cache: ModelCache, kept: Kept | None
) -> tuple[str, list[ColumnProfile]] | None:
    """The sha256 and the columns; what the version's tag says is their key."""

    def read() -> tuple[tuple[str, list[ColumnProfile]], int]:
        fetched = fetch_baseline(model.version, job.registry, cache)
        assert fetched is not None  # noqa: S101 (the version has a tag)
        return (fetched[0], from_bytes(fetched[1])), PARSED * len(fetched[1])

    tag = model.version.baseline_tag
    return None if tag is None else read_once(kept, ("baseline", tag), tuple, read)


def _weekdays(job: ScoringJob, value: str | None, known: Collection[str], kept: Kept | None) -> Iterator[Manifest]:
    """The runs of the same weekday in the weeks before, nearest first."""
    day = partition_date(job, value)
    for week in range(1, WEEKS + 1) if day else ():
        then = (day - timedelta(weeks=week)).strftime(job.input.partition_format) if day else ""
        if then in known:
            found, _ = latest_results(state_store(job), job.input.partition_key, then, kept)
            if found is not None and found.drift is not None and found.drift.profile:
                yield found


def _habits(
    job: ScoringJob, earlier: Sequence[str], references: References, kept: Kept | None, warnings: list[str]
) -> Habits:
    """Each run hands on what the runs before it had found: one profile tells of four weeks.

    Partitions that are not in it, since they were scored later than they should, are looked up themselves.
    """
    found: dict[Key, dict[str, Mapping[str, float]]] = {}
    known: set[str] = set()
    baseline, previous = references.names["baseline"], references.previous
    assert previous is not None  # noqa: S101

    def add(manifest: Manifest, profiles: Sequence[ColumnProfile], *, own: bool) -> None:
        if manifest.drift is None or manifest.drift.references.get("baseline") != baseline:
            return
        mine = show_value(manifest.partition)
        for column in profiles:
            for partition, distance in column.recent.items():
                if not own or partition == mine:
                    known.add(partition)
                    found.setdefault(column.key, {})[partition] = distance

    add(previous, references.profiles["previous"], own=False)
    state = state_store(job)
    for partition in earlier[:HABIT_DAYS]:
        if partition not in known:
            manifest, _ = latest_results(state, job.input.partition_key, partition, kept)
            if manifest is not None and manifest.drift and manifest.drift.references.get("baseline") == baseline:
                add(manifest, _stored(job, [manifest], kept, warnings), own=True)
    return {**found}


def _stored(
    job: ScoringJob, manifests: Sequence[Manifest], kept: Kept | None, warnings: list[str]
) -> list[ColumnProfile]:
    """The sum of the runs' profiles; those that are gone are left out, and those that cannot be read with a word."""
    state, parts = state_store(job), []

    def read(path: str) -> tuple[list[ColumnProfile], int]:
        content = state.read_bytes(path)
        return from_bytes(content), PARSED * len(content)

    for manifest in manifests:
        assert manifest.drift is not None  # noqa: S101
        path = manifest.drift.profile  # it names the run, which is published: nobody writes it again
        with contextlib.suppress(ScoringError):
            try:
                parts.append(read_once(kept, ("profile", state.url, path), list, functools.partial(read, path)))
            except ValueError as error:
                note = f"no comparison with the profile {state.locate_url(path)}: {str(error)[:200]}"
                warnings += [note] if note not in warnings else []
    return parts[0] if len(parts) == 1 else list(merge_profiles(parts)[0].values())
