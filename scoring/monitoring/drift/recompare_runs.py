"""Compares runs again once the partitions around them have other results.

A run compares its columns with what is there when it runs. A partition that is published later,
replaced or rolled back is a neighbour of others. These are compared again, from stored profiles,
and the comparison is stored beside the run's record. Manifest, gates and alerts stay those of the
run.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

from nightscore.engine.pool import Pool
from nightscore.errors import LocationNotFoundError, ScoringError
from nightscore.ledger.comparison_records import locate_comparison, write_comparison
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.monitoring.drift.assess import assess_again, judge_again
from nightscore.monitoring.drift.compare_ahead import BLOCK_RUNS, ComparedAhead, RunToCompare
from nightscore.monitoring.drift.neighbours import (
    HABIT_DAYS,
    Neighbours,
    find_neighbours,
    findings_digest,
)
from nightscore.monitoring.drift.references import read_references
from nightscore.monitoring.drift.stored_profiles import Baseline, stored_baseline, stored_profile
from nightscore.process import start_daemon
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import show_value

logger = logging.getLogger("nightscore")

MAX_COMPARED = 400
"""Runs that are compared again for one change, beyond those that changed. A finding that lasts
longer than a year keeps its later days' `since` until somebody asks for them. 400 runs take some
seconds."""


def compare_later(
    workspace: Workspace,
    values: Iterable[str | None],
    cache: ModelCache,
    now: datetime,
    *,
    are_fresh: bool = False,
    pools: Sequence[Pool] = (),
) -> int:
    """Compare again what has one of these partitions for a neighbour.

    It never fails: errors are logged, and a report that is asked for later makes up for it.

    Args:
        workspace: Of the job.
        values: Partitions whose results have changed.
        cache: Of baselines on this host.
        now: In UTC.
        are_fresh: These partitions were just compared: they are looked at only if there are later
            ones.
        pools: Idle workers of this machine, which compare many runs faster than this process alone.

    Returns:
        Comparisons that were made again.
    """
    name = workspace.job.name

    try:
        recomparison = _Recomparison(Timeline(workspace), cache, now, pools)
        try:
            n_compared = recomparison.compare_later(values, are_fresh=are_fresh)
        finally:
            recomparison.pending.wait()
        return n_compared
    except KeyboardInterrupt:
        # All is published by now: the command must not end as if nothing was.
        logger.warning("%s: stopped while later partitions were compared again", name)
        return 0
    except Exception as error:  # noqa: BLE001 (whatever it is: what was published stays so)
        what = _in_short(error)
        logger.warning("%s: later partitions could not be compared again: %s", name, what)
        return 0


def compared_now(job: ScoringJob, manifest: Manifest, cache: ModelCache, now: datetime) -> Manifest:
    """The manifest of a run with its newest comparison.

    The comparison is made now if the run's neighbours have changed. If that fails, the newest
    stored comparison is returned.
    """
    if manifest.drift is None:
        return manifest

    timeline = Timeline(Workspace(job))

    drift = None
    try:
        if _is_latest(timeline, manifest):
            timeline.read(timeline.before(manifest.partition)[:HABIT_DAYS])
            recomparison = _Recomparison(timeline, cache, now)
            compared = recomparison.compare_run(manifest, is_moved=False)
            recomparison.pending.wait()
            drift = compared
    except Exception as error:  # noqa: BLE001 (it is only asked for: what is stored can be shown)
        partition = show_value(manifest.partition)
        logger.warning("%s %s: not compared again: %s", job.name, partition, _in_short(error))

    return manifest.model_copy(update={"drift": drift or timeline.comparison(manifest)})


def _in_short(error: Exception) -> str:
    if isinstance(error, ScoringError):
        return error.what
    return f"{type(error).__name__}: {error}"


def _is_latest(timeline: Timeline, manifest: Manifest) -> bool:
    """Whether the run is its partition's latest, held or published.

    One that was replaced has no neighbours any longer.
    """
    if manifest.partition is None:
        return False
    results = timeline.results(manifest.partition)
    latest = (results.published, results.with_held)
    return any(other is not None and other.run_id == manifest.run_id for other in latest)


class _PendingWrite:
    """Writes a comparison while the next one is made: making it durable is mostly waiting."""

    def __init__(self) -> None:
        self._outcome: Future[None] | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Begin to write, once the write before has ended; raises what that one raised."""
        self.wait()
        self._outcome = start_daemon("comparison", write)

    def wait(self) -> None:
        """Wait until nothing is written any more; raises what the write raised."""
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            outcome.result()


@dataclass(frozen=True, slots=True)
class _Recomparison:
    """One pass over the partitions of a job. Who makes it waits for the last write."""

    timeline: Timeline
    cache: ModelCache
    now: datetime
    pools: Sequence[Pool] = ()
    pending: _PendingWrite = field(default_factory=_PendingWrite)

    def compare_later(self, values: Iterable[str | None], *, are_fresh: bool) -> int:
        """Go through the partitions in order, while findings change; see `compare_later`."""
        timeline = self.timeline

        affected = self._affected(values, are_fresh=are_fresh)
        if not affected:
            return 0

        in_order = [value for value in timeline.values if value in affected]
        timeline.read(in_order)

        with contextlib.closing(self._compare_ahead(in_order)) as ahead:
            return self._compare_in_order(in_order, ahead)

    def _compare_in_order(self, affected: Sequence[str], ahead: ComparedAhead) -> int:
        """Compare the affected partitions, and those after them whose findings change by that."""
        timeline = self.timeline
        start = timeline.values.index(affected[0])
        among_affected = frozenset(affected)
        max_compared = MAX_COMPARED + len(affected)
        n_compared, is_moved = 0, False

        for value in timeline.values[start:]:
            if value not in among_affected and not is_moved:
                continue

            runs = self._runs(value)
            if not runs:
                continue  # the next partition looks past it

            digests_before = self._digests(runs)
            for run in runs:
                if self.compare_run(run, is_moved=is_moved, ahead=ahead) is not None:
                    n_compared += 1

            is_moved = self._digests(runs) != digests_before

            if n_compared > max_compared:
                text = "%s: %d partitions compared again, later ones when they are asked for"
                logger.warning(text, timeline.job.name, max_compared)
                break

        return n_compared

    def compare_run(
        self, manifest: Manifest, *, is_moved: bool, ahead: ComparedAhead | None = None
    ) -> DriftRecord | None:
        """A run's new comparison; None: the stored one holds, or none can be made.

        Args:
            manifest: Of the run.
            is_moved: The partition before has other findings than a moment ago.
            ahead: What workers have compared already.
        """
        timeline = self.timeline
        own, current = manifest.drift, timeline.comparison(manifest)
        if own is None or current is None or not own.profile:
            return None

        sha256 = own.references.get("baseline", "")
        neighbours = find_neighbours(timeline, manifest.partition, sha256)
        if _holds(current, neighbours, is_moved=is_moved):
            return None

        baseline = self._baseline(manifest, neighbours)
        if neighbours.baseline and baseline is None:
            return None  # the comparison would say less than the stored one

        try:
            profile = stored_profile(timeline.workspace, own.profile)
        except (LocationNotFoundError, ValueError):
            return None  # a lost or damaged profile costs this comparison, not the others

        early = ahead.take(manifest, neighbours) if ahead is not None else None
        if early is not None:
            drift, table = judge_again(early, manifest, profile, neighbours)
        else:
            references = read_references(timeline, neighbours, baseline)
            assessed = assess_again(manifest, own, profile, references)
            drift, table = assessed.record, assessed.table

        drift = drift.model_copy(update={"made_at": self.now})
        located = locate_comparison(manifest, drift)
        write = functools.partial(write_comparison, timeline.store, manifest, located, table)
        self.pending.start(write)
        timeline.note(manifest, located)

        return located

    def _compare_ahead(self, in_order: Sequence[str]) -> ComparedAhead:
        """Have idle workers compare what has other neighbours now, if it is much."""
        timeline = self.timeline
        is_bounded = timeline.job.limits.memory_bytes is not None
        if not self.pools or is_bounded or len(in_order) <= BLOCK_RUNS:
            return ComparedAhead(timeline)

        runs = []
        for value in in_order:
            for manifest in self._runs(value):
                run = self._to_compare(manifest)
                if run is not None:
                    runs.append(run)

        return ComparedAhead(timeline, self.pools, runs)

    def _to_compare(self, manifest: Manifest) -> RunToCompare | None:
        """The run, if other runs are its neighbours now: it will be compared again."""
        own, current = manifest.drift, self.timeline.comparison(manifest)
        if own is None or current is None or not own.profile:
            return None

        sha256 = own.references.get("baseline", "")
        neighbours = find_neighbours(self.timeline, manifest.partition, sha256)
        if (current.references, current.habit_runs) == (neighbours.names, neighbours.habit_runs):
            return None

        baseline = self._baseline(manifest, neighbours)
        if neighbours.baseline and baseline is None:
            return None
        return RunToCompare(manifest=manifest, neighbours=neighbours, baseline=baseline)

    def _affected(self, values: Iterable[str | None], *, are_fresh: bool) -> set[str]:
        """The changed partitions, and those that may have one of them for a neighbour."""
        timeline = self.timeline
        changed = {value for value in values if value is not None} & set(timeline.values)
        later: set[str] = set()
        for value in changed:
            later.update(timeline.after(value)[:HABIT_DAYS], timeline.weekdays_after(value))

        if are_fresh and not later:
            return later
        return later | changed

    def _runs(self, value: str) -> Sequence[Manifest]:
        """The runs of a partition that are compared again: the published one, and one held."""
        self.timeline.read(self.timeline.before(value)[:HABIT_DAYS])
        results = self.timeline.results(value)
        latest = (results.published, results.with_held)
        runs: dict[str, Manifest] = {}
        for run in latest:
            if run is not None and run.drift is not None:
                runs[run.run_id] = run

        return list(runs.values())

    def _digests(self, runs: Sequence[Manifest]) -> list[str]:
        return [findings_digest(self.timeline.comparison(run)) for run in runs]

    def _baseline(self, manifest: Manifest, neighbours: Neighbours) -> Baseline | None:
        if not neighbours.baseline:
            return None
        columns = stored_baseline(self.timeline.workspace, manifest, self.cache)
        if columns:
            return (neighbours.baseline, columns)
        return None


def _holds(current: DriftRecord, neighbours: Neighbours, *, is_moved: bool) -> bool:
    """Whether a comparison is what it would be now.

    Args:
        current: The newest comparison of the run.
        neighbours: What the run would be compared with now.
        is_moved: The partition before has other findings than a moment ago.
    """
    if current.neighbours:
        return current.neighbours == neighbours.digest

    # A comparison of an older version states less of what it was made of.
    return not is_moved and current.references == neighbours.names
