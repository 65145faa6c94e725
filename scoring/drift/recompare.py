"""Compares runs again once the partitions around them have other results: from stored profiles, no data are read.

A run compares its columns with what is there when it runs. A partition that is published later, replaced or rolled
back is a neighbour of others: these are compared again, and the comparison is kept beside the run's record. Manifest,
gates and alerts stay those of the run.
"""

import logging
from collections.abc import Iterable
from datetime import datetime

from nightscore.drift.assess import assess_again
from nightscore.drift.references import (
    Neighbours,
    find_neighbours,
    findings_digest,
    read_references,
    stored_baseline,
    stored_profile,
)
from nightscore.drift.seasonal import HABIT_DAYS
from nightscore.errors import LocationNotFoundError, ScoringError
from nightscore.ledger.comparisons import write_comparison
from nightscore.ledger.timeline import Timeline
from nightscore.ledger.workspace import Workspace
from nightscore.models.cache import ModelCache
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import show_value

logger = logging.getLogger("nightscore")

MAX_COMPARED = 400
"""Runs that are compared again for one change beyond those that changed: a finding that goes on for longer than a
year keeps its later days' `since` until they are asked for. 400 take some seconds."""


def compare_later(
    workspace: Workspace,
    values: Iterable[str | None],
    cache: ModelCache,
    now: datetime,
    *,
    are_fresh: bool = False,
) -> int:
    """Compare again what has one of these partitions for a neighbour. It never fails: what goes wrong is logged, and
    a report that is asked for later makes up for it.

    Args:
        workspace: Of the job.
        values: Partitions whose results have changed.
        cache: Of baselines on this host.
        now: In UTC.
        are_fresh: These partitions have just been compared: they are looked at only if there are later ones.

    Returns:
        Comparisons that were made again.
    """
    job = workspace.job
    try:
        return _compare_later(workspace, values, cache, now, are_fresh=are_fresh)
    except (
        KeyboardInterrupt
    ):  # all is published by now: who stops the command hears that, not that nothing was
        logger.warning("%s: stopped while later partitions were compared again", job.name)
        return 0
    except Exception as error:  # noqa: BLE001 (whatever it is: what was published stays so)
        what = error.what if isinstance(error, ScoringError) else f"{type(error).__name__}: {error}"
        logger.warning("%s: later partitions could not be compared again: %s", job.name, what)
        return 0


def compared_now(job: ScoringJob, manifest: Manifest, cache: ModelCache, now: datetime) -> Manifest:
    """The manifest of a run with its newest comparison, which is made now if its neighbours are others by now.

    Where that cannot be done it is the newest that there is.
    """
    if manifest.drift is None:
        return manifest
    timeline = Timeline(Workspace(job))
    drift = None
    try:
        if _stands(timeline, manifest):
            timeline.read(timeline.before(manifest.partition)[:HABIT_DAYS])
            drift = _compare_run(timeline, manifest, cache, now, is_moved=False)
    except Exception as error:  # noqa: BLE001 (it is only asked for: what is stored can be shown)
        what = error.what if isinstance(error, ScoringError) else f"{type(error).__name__}: {error}"
        logger.warning(
            "%s %s: not compared again: %s", job.name, show_value(manifest.partition), what
        )
    return manifest.model_copy(update={"drift": drift or timeline.comparison(manifest)})


def _stands(timeline: Timeline, manifest: Manifest) -> bool:
    """Whether the run is its partition's latest, held or published: one that was replaced has no neighbours now."""
    if manifest.partition is None:
        return False
    return any(
        m is not None and m.run_id == manifest.run_id for m in timeline.results(manifest.partition)
    )


def _compare_later(
    workspace: Workspace,
    values: Iterable[str | None],
    cache: ModelCache,
    now: datetime,
    *,
    are_fresh: bool,
) -> int:
    timeline = Timeline(workspace)
    job = workspace.job
    changed = {value for value in values if value is not None} & set(timeline.values)
    later = _later(timeline, changed)
    affected = later if are_fresh and not later else later | changed
    if not affected:
        return 0

    start = next(place for place, value in enumerate(timeline.values) if value in affected)
    timeline.read([v for v in timeline.values[max(0, start - HABIT_DAYS) :] if v in affected])
    most = MAX_COMPARED + len(affected)
    n_compared, is_moved = 0, False
    for value in timeline.values[start:]:
        if value not in affected and not is_moved:
            continue
        timeline.read(timeline.before(value)[:HABIT_DAYS])
        published, waiting = timeline.results(value)
        runs = {m.run_id: m for m in (published, waiting) if m is not None and m.drift is not None}
        if not runs:
            continue  # the next one looks past it
        before = [findings_digest(timeline.comparison(m)) for m in runs.values()]
        found = [_compare_run(timeline, m, cache, now, is_moved=is_moved) for m in runs.values()]
        n_compared += sum(drift is not None for drift in found)
        is_moved = before != [findings_digest(timeline.comparison(m)) for m in runs.values()]
        if n_compared > most:
            logger.warning(
                "%s: %d partitions compared again, later ones when they are asked for",
                job.name,
                most,
            )
            break
    return n_compared


def _later(timeline: Timeline, changed: set[str]) -> set[str]:
    """The partitions that may have one of these for a neighbour."""
    later: set[str] = set()
    for value in changed:
        later |= {*timeline.after(value)[:HABIT_DAYS], *timeline.weekdays_after(value)}
    return later


def _compare_run(
    timeline: Timeline, manifest: Manifest, cache: ModelCache, now: datetime, *, is_moved: bool
) -> DriftRecord | None:
    """A run's new comparison; None: the one that there is holds, or none can be made."""
    own, current = manifest.drift, timeline.comparison(manifest)
    if own is None or current is None or not own.profile:
        return None
    neighbours = find_neighbours(timeline, manifest.partition, own.references.get("baseline", ""))
    if _holds(current, neighbours, is_moved=is_moved):
        return None

    baseline = None
    if neighbours.baseline:
        columns = stored_baseline(timeline.workspace, manifest, cache)
        if not columns:
            return None  # without it the comparison would be a poorer one
        baseline = (neighbours.baseline, columns)
    try:
        profile = stored_profile(timeline.workspace, own.profile)
    except (LocationNotFoundError, ValueError):
        return None  # a profile that is gone or damaged costs this comparison, not the others
    references = read_references(timeline, manifest.partition, neighbours, baseline)
    drift, table = assess_again(manifest, own, profile, references)
    written = write_comparison(
        timeline.store, manifest, drift.model_copy(update={"made_at": now}), table
    )
    timeline.note(manifest, written)
    return written


def _holds(current: DriftRecord, neighbours: Neighbours, *, is_moved: bool) -> bool:
    """Whether a comparison is what it would be now. One of an older version says less of what it was made of.

    Args:
        current: The newest comparison of the run.
        neighbours: What it would be compared with now.
        is_moved: The partition before has other findings than a moment ago.
    """
    if current.neighbours:
        return current.neighbours == neighbours.digest
    return not is_moved and current.references == neighbours.names
