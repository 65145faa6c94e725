"""What changed since the partition before: nobody is informed twice of what merely continues."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.monitoring.drift.findings import counted, worse
from nightscore.operations.judge_evaluations import JudgedEvaluation
from nightscore.schemas.drift import ORDER, Severity, is_at_least
from nightscore.schemas.manifest import FindingRecord, Manifest


@dataclass(frozen=True, slots=True)
class Transition:
    """Columns whose state changed since the partition before."""

    new: tuple[FindingRecord, ...] = ()
    worse: tuple[FindingRecord, ...] = ()
    resolved: tuple[str, ...] = ()
    explained: tuple[str, ...] = ()
    """Resolved columns that still differ, but now as the season or their habit explains."""

    @property
    def severity(self) -> Severity | None:
        """The greatest severity of what is new or became worse; None if nothing did."""
        severities = [counted(finding) for finding in (*self.new, *self.worse)]
        return max(severities, key=ORDER.index, default=None)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.new or self.worse or self.resolved)


def find_transition(manifest: Manifest) -> Transition:
    """What changed with a run that is published or held. Other runs change nothing."""
    drift = manifest.drift
    if drift is None or manifest.status not in ("published", "held"):
        return Transition()

    new, became_worse = [], []

    for finding in worse(drift.findings, "warning"):
        if finding.status == "new":
            new.append(finding)
        elif _became_worse(finding):
            became_worse.append(finding)

    seasonal = {finding.column for finding in drift.findings if finding.is_seasonal}
    return Transition(
        new=tuple(new),
        worse=tuple(became_worse),
        resolved=drift.resolved,
        explained=tuple(name for name in drift.resolved if name in seasonal),
    )


def _became_worse(finding: FindingRecord) -> bool:
    """Whether an ongoing finding is worse than in the partition before.

    A record that does not say what it was does not count as a change.
    """
    if finding.status != "ongoing" or finding.was is None:
        return False
    return ORDER.index(counted(finding)) > ORDER.index(finding.was)


@dataclass(frozen=True, slots=True)
class PerformanceTransition:
    """Partitions whose realised performance is not as it was before, in their order."""

    changes: tuple[JudgedEvaluation, ...] = ()
    """Those that became worse, up to a warning at least, and those that are within bounds again."""

    @property
    def severity(self) -> Severity | None:
        """The greatest severity since performance was last within bounds; None: it is there now."""
        severities: list[Severity] = []
        for change in self.changes:
            if is_resolved(change):
                severities = []
            else:
                severities.append(change.severity)

        return max(severities, key=ORDER.index, default=None)


def find_performance_transition(judged: Sequence[JudgedEvaluation]) -> PerformanceTransition:
    """What new evaluations change. What merely continues, or is a little better, is left out."""
    changes = [one for one in judged if is_resolved(one) or _is_worse(one)]
    return PerformanceTransition(tuple(changes))


def is_resolved(judged: JudgedEvaluation) -> bool:
    """Whether somebody was told of it, and it is within bounds again."""
    return is_at_least(judged.was, "warning") and not is_at_least(judged.severity, "warning")


def _is_worse(judged: JudgedEvaluation) -> bool:
    became_worse = ORDER.index(judged.severity) > ORDER.index(judged.was)
    return became_worse and is_at_least(judged.severity, "warning")
