"""Finds the runs that a partition is compared with. No profile is read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from nightscore.ledger.timeline import Timeline
from nightscore.schemas.manifest import DriftRecord, Manifest
from nightscore.schemas.partition import show_value

HABIT_DAYS = 28
"""Partitions whose distances from the baseline say what is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The runs that a partition is compared with. They depend on published results alone."""

    baseline: str = ""
    """sha256 of the model's baseline; empty: it has none."""
    previous: Manifest | None = None
    """The nearest earlier partition that has a profile."""
    before: Manifest | None = None
    """The nearest earlier run that compared its columns, held or published: it says since when a
    finding lasts."""
    compared_before: DriftRecord | None = None
    """Its newest comparison."""
    weekdays: tuple[Manifest, ...] = ()
    """The same weekdays of the weeks before."""
    habit_runs: dict[str, str] = field(default_factory=dict)
    """Earlier partitions that say what is usual, to their runs."""

    @property
    def names(self) -> dict[str, str]:
        """What is compared with, as a record states it."""
        names = {"baseline": self.baseline} if self.baseline else {}
        if self.weekdays:
            names["weekdays"] = ", ".join(manifest.run_id for manifest in self.weekdays)
        if self.previous is not None:
            names["previous"] = self.previous.run_id
        return names

    @property
    def days(self) -> dict[str, tuple[str, ...]]:
        """The partitions that the names stand for."""
        days: dict[str, tuple[str, ...]] = {}
        if self.weekdays:
            weekdays = [show_value(manifest.partition) for manifest in self.weekdays]
            days["weekdays"] = tuple(weekdays)
        if self.previous is not None:
            days["previous"] = (show_value(self.previous.partition),)
        return days

    @property
    def digest(self) -> str:
        """sha256 over all that a comparison can depend on."""
        parts = [self.names, self.habit_runs, findings_digest(self.compared_before)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def findings_digest(drift: DriftRecord | None) -> str:
    """sha256 over what the next partition takes from a comparison: its findings and since when."""
    if drift is None:
        return ""
    findings = []
    for f in drift.findings:
        findings.append((f.role, f.column, f.severity, f.is_seasonal, f.since))
    return hashlib.sha256(json.dumps(sorted(findings, key=str)).encode()).hexdigest()


def find_neighbours(timeline: Timeline, value: str | None, baseline: str) -> Neighbours:
    """The runs that a partition is compared with, as the store has them now.

    `previous` is the nearest earlier partition that has a profile, however far it is. Its day is
    named, and the comparison is made again when a nearer one is published.

    Args:
        timeline: The job's partitions.
        value: The partition.
        baseline: sha256 of the model's baseline; empty: it has none.
    """
    earlier = timeline.before(value)
    previous, before = _nearest(timeline, earlier)
    weekdays = []
    for other in timeline.weekdays_before(value):
        published = timeline.results(other).published
        if published is not None and has_profile(published):
            weekdays.append(published)

    habit_runs = {}
    if baseline and previous is not None:
        habit_runs = _habit_runs(timeline, earlier[:HABIT_DAYS], previous)

    return Neighbours(
        baseline=baseline,
        previous=previous,
        before=before,
        compared_before=timeline.comparison(before) if before is not None else None,
        weekdays=tuple(weekdays),
        habit_runs=habit_runs,
    )


def has_profile(manifest: Manifest) -> bool:
    """Whether the run stored a profile of its columns."""
    return manifest.drift is not None and bool(manifest.drift.profile)


def _nearest(timeline: Timeline, earlier: Sequence[str]) -> tuple[Manifest | None, Manifest | None]:
    """The nearest run with a profile, and the nearest one that compared its columns."""
    previous = before = None
    for other in earlier:
        results = timeline.results(other)
        published, latest = results.published, results.with_held
        if previous is None and published is not None and has_profile(published):
            previous = published

        if before is None and latest is not None and latest.drift is not None:
            before = latest

        if previous is not None and before is not None:
            break

    return previous, before


def _habit_runs(timeline: Timeline, window: Sequence[str], previous: Manifest) -> dict[str, str]:
    """Partition to its latest run.

    Runs that the previous comparison was up to date with are not asked for again.
    """
    newest = timeline.comparison(previous)
    known = dict(newest.habit_runs) if newest is not None else {}
    known[show_value(previous.partition)] = previous.run_id

    runs = {}
    for partition in window:
        if partition in known and not timeline.knows(partition):
            runs[partition] = known[partition]
            continue

        manifest = timeline.results(partition).published
        if manifest is not None and manifest.drift is not None:
            runs[partition] = manifest.run_id

    return runs
