"""Releases in words, as commands print them."""

from collections.abc import Iterator, Sequence
from typing import Any

from nightscore.cli.show import out
from nightscore.cli.standing_text import show_standing
from nightscore.ledger.release_log import Release
from nightscore.models.model_diff import describe_not_stored
from nightscore.monitoring.decisions.wording import describe_standing
from nightscore.monitoring.performance.estimates.wording import (
    LABELS,
    OVER_TIME,
    metric_of,
    show_metric,
)
from nightscore.operations.releases.appraisal import CANARY_CHECK, Appraisal
from nightscore.operations.releases.promote import ReleaseResult
from nightscore.operations.releases.proposals import describe_overtaken, describe_proposal
from nightscore.operations.releases.queries import ReleaseList
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.performance import MetricRecord
from nightscore.schemas.release_entry import (
    CanaryEntry,
    ChangeRecord,
    EvidenceRecord,
    ModelDiffRecord,
    PartitionEvidence,
)

CANARY_COLUMNS = ("entry", "when (UTC)", "what", "version", "share", "by", "salt", "why")
SHOWN_CHANGES = 12
"""Changes of one aspect that are listed; `--json` has all."""


def show_diff(diff: ModelDiffRecord) -> Iterator[str]:
    """What differs between two versions, line by line."""
    yield f"{diff.before} -> {diff.after}"
    for aspect, changes in diff.changes.items():
        for change in changes[:SHOWN_CHANGES]:
            yield f"  {aspect + ':':<12} {_show_change(change)}"
        if len(changes) > SHOWN_CHANGES:
            yield f"  {'':<12} and {len(changes) - SHOWN_CHANGES:,} more"

    for aspect, why in diff.not_stored.items():
        yield f"  {aspect + ':':<12} not stored {describe_not_stored(why)}"
    if diff.same:
        yield f"  {'the same:':<12} {', '.join(diff.same)}"


def _show_change(change: ChangeRecord) -> str:
    if not change.before:
        return f"{change.what} is new: {change.after}"
    if not change.after:
        return f"{change.what} is gone: {change.before}"
    return f"{change.what}: {change.before} -> {change.after}"


def print_result(job: ScoringJob, result: ReleaseResult) -> None:
    """Print what a command has done."""
    if result.proposal is not None:
        out.print("The version is proposed; the alias was not moved.")
        out.print(describe_proposal(job, result.proposal))
        return

    release = result.release
    if result.was_live or release is None:
        version = f"version {release.entry.after.version}" if release else "that version"
        out.print(f"Nothing was changed: {version} is live already.")
        return

    for line in release_lines(release):
        out.print(line)

    out.print(f"Jobs that this moves: {', '.join(result.affected.names)}")
    if result.affected.unreadable:
        names = ", ".join(result.affected.unreadable)
        out.print(f"Job files that cannot be read, and may be moved too: {names}")

    if result.overtaken is not None:
        out.print(describe_overtaken(job, result.overtaken))

    if release.entry.kind == "promoted":
        out.print(f"`{job.command('demote')}` takes it back.")


def release_lines(release: Release) -> Iterator[str]:
    """What a command has done, line by line."""
    entry = release.entry
    moved = f"{entry.model}@{entry.alias}: version {show_move(release)}"
    yield f"{moved}, entry {entry.number} of the log"
    if entry.decision is not None:
        yield f"Proposed by {entry.by}, {entry.decision.verdict} by {entry.decision.by}"
    if entry.diff is not None:
        yield from show_diff(entry.diff)
    if entry.evidence is not None:
        yield from show_evidence(entry.evidence)
    if entry.at_approval is not None:
        yield f"When it was approved: {describe_standing(entry.at_approval)}"


def appraisal_lines(appraisal: Appraisal) -> Iterator[str]:
    """What a promotion would go by, line by line."""
    before = "?" if appraisal.live is None else appraisal.live.version
    yield f"{appraisal.target.alias}: version {before} -> {appraisal.candidate.version}"
    if appraisal.diff is not None:
        yield from show_diff(appraisal.diff)
    yield from show_evidence(appraisal.evidence)
    if not appraisal.problems:
        yield "Nothing keeps it from going live. Nothing was changed."


def show_evidence(evidence: EvidenceRecord) -> Iterator[str]:
    """What was known of both versions, line by line."""
    for check in evidence.checks:
        if check.name == CANARY_CHECK:
            yield f"Canary of the new version: {check.found}"

    for baseline in evidence.baselines:
        known = _show_metrics(baseline.metrics) or baseline.note
        yield f"Baseline of version {baseline.version}: {known}"

    for who, partitions in (("Live", evidence.live), ("New", evidence.challenger)):
        yield from _partition_lines(who, partitions)

    if evidence.comparison is not None:
        yield from show_standing(evidence.comparison)

    if evidence.no_comparison:
        yield f"Nothing shows by labels that it is better: {'; '.join(evidence.no_comparison)}"


def _partition_lines(who: str, partitions: Sequence[PartitionEvidence]) -> Iterator[str]:
    """What is estimated of the newest partition, and what has come true of the newest that did."""
    if not partitions:
        return

    newest = partitions[-1]
    estimated = _show_metrics(newest.estimated) or "nothing"
    n_true = _count_come_true(partitions)
    yield f"{who} version on {newest.partition}: {estimated} estimated; {n_true}"

    complete = [
        one for one in partitions if one.realised and one.is_matured and not one.is_selection
    ]
    if complete and (realised := _show_metrics(complete[-1].realised)):
        yield f"  came true on {complete[-1].partition}: {realised}"


def _count_come_true(partitions: Sequence[PartitionEvidence]) -> str:
    """How many have come true, and of how many the labels do not stand for all rows."""
    evaluated = [one for one in partitions if one.realised]
    n_early = sum(not one.is_matured for one in evaluated)
    n_selections = sum(one.is_matured and one.is_selection for one in evaluated)

    n_complete = len(evaluated) - n_early - n_selections
    parts = [f"{n_complete} of its latest {len(partitions)} partitions have come true"]
    if n_early:
        parts.append(f"{n_early} so far, with more labels to come")
    if n_selections:
        parts.append(f"{n_selections} by a selection of labelled rows")
    return ", ".join(parts)


def _show_metrics(metrics: Sequence[MetricRecord]) -> str:
    """The metrics that are drawn over time, with their bands."""
    shown = [metric_of(metrics, name) for name in OVER_TIME]
    known = [metric for metric in shown if metric is not None and metric.value is not None]
    return ", ".join(f"{LABELS.get(one.name, one.name)} {show_metric(one)}" for one in known)


def show_move(release: Release) -> str:
    """From which version to which an entry leads."""
    before = release.entry.before
    start = "?" if before is None else before.version
    return f"{start} -> {release.entry.after.version}"


def show_state(release: Release) -> str:
    """What became of an entry."""
    if release.is_pending:
        return "not completed"
    if release.entry.kind == "moved":
        return "noticed"
    if release.entry.kind == "rejected":
        return "not done"
    return release.outcome.outcome if release.outcome is not None else ""


def show_standing_beside(found: ReleaseList, standing: ComparisonRecord) -> str:
    """Where the decision with a challenger stands, of which nights, and what was done since.

    Verdicts are of nights. An entry of the log changes none of them.
    """
    first, *_ = show_standing(standing)
    if not standing.nights:
        return f"{first}."

    parts = [f"{first} (nights up to {standing.last})"]
    effective = [release for release in found.releases if release.is_effective]

    if effective:
        entry = effective[-1].entry
        at = f"at {effective[-1].effective_at:%Y-%m-%d %H:%M} UTC, entry {entry.number}"
        before = None if entry.before is None else entry.before.version

        if entry.after.version == standing.challenger:
            parts.append(f"version {standing.challenger} went live {at}")
        elif entry.kind == "demoted" and before == standing.challenger:
            parts.append(f"version {standing.challenger} was demoted {at}")

    return f"{'; '.join(parts)}."


def show_doubt(noticed: Release) -> str:
    """Why an entry's version may have been live before its time: `has noticed that ...`."""
    if noticed.entry.kind == "moved":
        return "has noticed that somebody moved the alias by other means"

    begun = f"was begun at {noticed.entry.at:%Y-%m-%d %H:%M} UTC"
    if noticed.is_pending:
        return f"{begun} and is not completed, so the alias may have moved"

    completed = f"{noticed.effective_at:%Y-%m-%d %H:%M} UTC"
    return f"{begun} and completed at {completed}; the alias moved between"


def canary_row(entry: CanaryEntry) -> dict[str, Any]:
    """An entry of a job's canaries, as a row of `CANARY_COLUMNS`."""
    canary = entry.canary
    return {
        "entry": entry.number,
        "when (UTC)": f"{entry.at:%Y-%m-%d %H:%M}",
        "what": entry.kind,
        "version": canary.version,
        "share": f"{100 * canary.share:.4g} %",
        "by": ", ".join(canary.by),
        "salt": canary.salt,
        "why": entry.why,
    }
