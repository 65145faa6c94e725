"""What the release log says of a job's canaries, and what runs add to it.

A run never fails of it: what cannot be read or written is a warning.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Literal

from nightscore.errors import ConflictError, ScoringError
from nightscore.inputs.partitions import partition_date
from nightscore.ledger.canary_log import CanaryLog, canary_at, standing_stop
from nightscore.ledger.release_log import ReleaseLog
from nightscore.models.aliases import alias_of_job
from nightscore.process import installed_version, user_and_host
from nightscore.runs.execution import Execution
from nightscore.schemas.canary import STOPPED, CanaryRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import FindingRecord, Manifest
from nightscore.schemas.release_entry import CanaryEntry

Kind = Literal["started", "stopped", "ended"]
PREDICTION = "prediction"
MOST_TRIES = 20
"""Of adding an entry, while other runs of the job add theirs at the same time."""


def why_stopped(execution: Execution, salt: str) -> str:
    """Why a canary must not start; empty: it may, or the log cannot be read."""
    try:
        return why_stopped_by_log(execution.job, salt)
    except ScoringError as error:
        execution.record.warn(f"the release log was not looked at: {error.what}")
        return ""


def why_stopped_by_log(job: ScoringJob, salt: str) -> str:
    """Why a canary of a job must not start; empty: it may.

    Args:
        job: Whose model is the alias.
        salt: Of the canary.

    Raises:
        StorageError: The log cannot be read.
    """
    log = _release_log(job)
    if log is None:
        return ""

    stop = standing_stop(CanaryLog(log, job.name).read(), log.read(), salt)
    if stop is None:
        return ""
    return (
        f"{STOPPED} on {stop.at:%Y-%m-%d %H:%M} UTC: {stop.why}; only a promotion or "
        "another release.salt starts it again"
    )


def newest_entry(execution: Execution) -> CanaryEntry | None:
    """What the release log has last of the job's canaries. None: nothing, or it cannot be read."""
    log = _release_log(execution.job)
    if log is None:
        return None

    try:
        entries = CanaryLog(log, execution.job.name).read()
    except ScoringError as error:
        execution.record.warn(f"the release log was not looked at: {error.what}")
        return None

    return entries[-1] if entries else None


def note_started(execution: Execution, canary: CanaryRecord) -> None:
    """Enter that these arms are in force, unless the newest entry says so."""
    _append(execution, "started", canary)


def note_stopped(execution: Execution, canary: CanaryRecord, why: str) -> None:
    """Enter that a critical finding has ended a canary."""
    _append(execution, "stopped", canary, why)


def note_ended(execution: Execution, why: str = "the job names no other version any more") -> None:
    """Enter that no canary is running any more, if the newest entry says that one is."""
    _append(execution, "ended", None, why)


def recorded_arms(job: ScoringJob, value: str | None) -> CanaryRecord | None:
    """The canary that was under way at the end of a partition's date. None: the log names none.

    Args:
        job: Whose model is the alias.
        value: Of the partition.

    Raises:
        StorageError: The log cannot be read.
    """
    log, day = _release_log(job), partition_date(job, value)
    if log is None or day is None:
        return None
    return canary_at(CanaryLog(log, job.name).read(), datetime.combine(day, time.max, UTC))


def critical_findings(challenger: Manifest, champion: Manifest) -> list[str]:
    """What is critical in a challenger's run and says something of the challenger, a clause each.

    What is critical of an input column in both runs does not count: the input has changed, and
    leaving the challenger would not help. Predictions count whatever those of the champion do.

    Args:
        challenger: The record of its run.
        champion: The record of the run beside it.
    """
    of_input = {finding.column for finding in _critical(champion) if finding.role != PREDICTION}

    findings = [
        f"{finding.column}: {', '.join(finding.reasons)}"
        for finding in _critical(challenger)
        if finding.role == PREDICTION or finding.column not in of_input
    ]

    for gate in challenger.gates:
        if gate.gate.startswith("estimated") and not gate.passed:
            findings.append(f"{gate.gate}: expected {gate.expected}, found {gate.found}")

    return findings


def _critical(manifest: Manifest) -> list[FindingRecord]:
    """The columns of a run that are critical, and not as in other seasons."""
    found = manifest.drift.findings if manifest.drift is not None else ()
    return [one for one in found if one.severity == "critical" and not one.is_seasonal]


def _release_log(job: ScoringJob) -> ReleaseLog | None:
    alias = alias_of_job(job)
    return None if alias is None else ReleaseLog(job, alias.model, alias.alias)


def _append(execution: Execution, kind: Kind, canary: CanaryRecord | None, why: str = "") -> None:
    """Add an entry, unless it would say what the newest one says."""
    job, log = execution.job, _release_log(execution.job)
    if log is None:
        return

    canaries = CanaryLog(log, job.name)

    try:
        for _ in range(MOST_TRIES):
            entries = canaries.read()
            if kind == "started" and canary is not None and _is_stopped(log, entries, canary.salt):
                return  # by a run that was under way at the same time

            entry = _next_entry(execution, entries, kind, canary, why)
            if entry is None or _is_added(canaries, entry):
                return
    except ScoringError as error:
        execution.record.warn(f"the release log does not have that the canary {kind}: {error.what}")
        return

    execution.record.warn(
        f"the release log does not have that the canary {kind}: other runs of the job added "
        f"entries each of {MOST_TRIES} times"
    )


def _is_stopped(log: ReleaseLog, entries: Sequence[CanaryEntry], salt: str) -> bool:
    """Whether the newest entry has stopped the canary, and nothing starts it again."""
    if not entries or entries[-1].kind != "stopped":
        return False
    return standing_stop(entries, log.read(), salt) is not None


def _is_added(canaries: CanaryLog, entry: CanaryEntry) -> bool:
    """Add an entry; False: another run of the job has added one of its number, which may differ."""
    try:
        canaries.append(entry)
    except ConflictError:
        return False
    return True


def _next_entry(
    execution: Execution,
    entries: Sequence[CanaryEntry],
    kind: Kind,
    canary: CanaryRecord | None,
    why: str,
) -> CanaryEntry | None:
    newest = entries[-1] if entries else None
    is_running = newest is not None and newest.kind == "started"

    if canary is None:
        if newest is None or not is_running:
            return None
        canary = newest.canary

    is_same = newest is not None and newest.canary.assigned == canary.assigned
    if newest is not None and newest.kind == kind and is_same:
        return None

    return CanaryEntry(
        number=len(entries) + 1 if newest is None else newest.number + 1,
        kind=kind,
        job=execution.job.name,
        canary=canary.model_copy(update={"champion_fingerprint": "", "engine": ""}),
        by=user_and_host(),
        at=datetime.now(UTC),
        engine=installed_version("nightscore"),
        run_id=execution.run_id,
        why=why,
    )
