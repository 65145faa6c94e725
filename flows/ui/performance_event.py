"""The event of evaluations: what came true is worse than a bound, or within it again."""

import logging
from collections.abc import Sequence

from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from nightscore.flows.ui.events import SIGNS, RunEvent
from nightscore.flows.ui.messages import named_first
from nightscore.flows.ui.transition import (
    PerformanceTransition,
    find_performance_transition,
    is_resolved,
)
from nightscore.monitoring.performance.realised_wording import show_realised
from nightscore.operations.judge_evaluations import JudgedEvaluation, judge_evaluations
from nightscore.schemas.evaluation import EvaluationRecord
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import counted, printable

logger = logging.getLogger("nightscore")

MAX_SHOWN = 8
"""Partitions in a message."""
MAX_CHANGES = 50
"""Partitions in an event, whose size the server limits."""


def emit_performance_event(
    job: ScoringJob, records: Sequence[EvaluationRecord]
) -> list[JudgedEvaluation]:
    """Emit the event of new evaluations, if there is one. Errors are logged, and cost only it.

    Args:
        job: Whose evaluations.
        records: The new ones.

    Returns:
        The evaluations that could be judged.
    """
    judged: list[JudgedEvaluation] = []
    try:
        judged = judge_evaluations(job, records)
        if not PREFECT_API_URL.value():  # Prefect would start a server for it
            return judged

        changes = find_performance_transition(judged)
        event = performance_event(job, changes, flow_run.ui_url or "")

        if event is not None:
            emit_event(event.name, resource=event.resource, payload=event.payload)
    except Exception as error:  # noqa: BLE001 (whatever Prefect does: the evaluations are recorded)
        logger.warning(
            "the event of the evaluations of %s could not be emitted: %s: %s",
            job.name,
            type(error).__name__,
            error,
        )

    return judged


def performance_event(
    job: ScoringJob, transition: PerformanceTransition, flow_run_url: str = ""
) -> RunEvent | None:
    """`nightscore.performance.critical`, `.warning` or `.resolved`; None if nothing changed.

    There is one for all partitions that were evaluated together.

    Args:
        job: Whose evaluations.
        transition: What changed.
        flow_run_url: Page of the run that evaluated.
    """
    if not transition.changes:
        return None

    severity = transition.severity or "resolved"
    newest = transition.changes[-1]
    record = newest.record
    partition = show_value(record.partition)
    title = _subject(job, transition, severity)
    command = job.command("history", newest.metric.name)

    resource = {
        "prefect.resource.id": f"nightscore.job.{job.name}",
        "prefect.resource.name": job.name,
        "nightscore.partition": partition,
        "nightscore.severity": severity,
        "nightscore.notify": "true",
    }
    payload = {
        "job": job.name,
        "partition": partition,
        "run_id": record.run_id,
        "model": record.model_name,
        "model_version": record.model_version,
        "status": "evaluated",
        "severity": severity,
        "sign": SIGNS[severity],
        "metric": newest.metric.name,
        # Names of partitions come from the data: none may forge a line of a message.
        "subject": printable(title),
        "message": printable(f"{title}. Expected {newest.expected}. Look: {command}"),
        "text": "\n".join(map(printable, _text_lines(transition, command, flow_run_url))),
        "changes": list(map(_fields, transition.changes[-MAX_CHANGES:])),
        "n_changes": len(transition.changes),
        "report": command,
        "flow_run_url": flow_run_url,
    }
    return RunEvent(f"nightscore.performance.{severity}", resource, payload)


def _subject(job: ScoringJob, transition: PerformanceTransition, severity: str) -> str:
    """Where, how severe, and what came true: enough for readers who read no further."""
    changes = transition.changes
    name = changes[-1].metric.name
    if len(changes) == 1:
        where = f"{job.name} {show_value(changes[0].record.partition)}"
        return f"{where}: realised {name} {severity}: {show_realised(changes[0].metric)}"

    partitions = named_first([show_value(change.record.partition) for change in changes[::-1]])
    what = f"{counted(len(changes), 'partition')} changed: {partitions}"
    return f"{job.name}: realised {name} {severity}; {what}"


def _text_lines(transition: PerformanceTransition, command: str, flow_run_url: str) -> list[str]:
    """The lines of a message, the newest partition first."""
    newest_first = transition.changes[::-1]
    lines = list(map(_line, newest_first[:MAX_SHOWN]))
    if len(newest_first) > MAX_SHOWN:
        lines.append(f"• and {len(newest_first) - MAX_SHOWN} more")

    record = newest_first[0].record
    lines += ["", "What came true of predictions that are published. Look:", f"    {command}", ""]
    lines.append(f"Model: {named_model(record.model_name, record.model_version)}")
    if flow_run_url:
        lines.append(f"Run: {flow_run_url}")

    return lines


def _line(change: JudgedEvaluation) -> str:
    state = "resolved" if is_resolved(change) else change.severity
    partition, metric = show_value(change.record.partition), change.metric
    found = f"{metric.name} {show_realised(metric)} of {counted(metric.n, 'labelled row')}"
    note = f"; {change.note}" if change.note else ""
    return f"• {partition}: {state} (was {change.was}). {found}, expected {change.expected}{note}"


def _fields(change: JudgedEvaluation) -> dict[str, object]:
    metric = change.metric
    return {
        "partition": show_value(change.record.partition),
        "run_id": change.record.run_id,
        "severity": change.severity,
        "was": change.was,
        "metric": metric.name,
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
        "rows": metric.n,
        "expected": change.expected,
        "note": change.note,
    }
