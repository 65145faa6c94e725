"""Prefect events for automations: a job's columns change their state, or a gate holds a run."""

import logging
from dataclasses import dataclass
from typing import Any

from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from nightscore.flows.outcome import is_backfill
from nightscore.flows.ui.messages import (
    NO_LINKS,
    Links,
    message,
    report_command,
    subject,
    text_lines,
)
from nightscore.flows.ui.transition import Transition, find_transition
from nightscore.monitoring.drift.findings import counted
from nightscore.schemas.manifest import FindingRecord, GateRecord, Manifest
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import printable

logger = logging.getLogger("nightscore")

MAX_FINDINGS = 50
"""Findings in an event, whose size the server limits."""
SIGNS = {"critical": "🔴", "warning": "🟠", "resolved": "🟢", "ok": "✋"}
"""Symbol of each severity. `ok` is a held run without a warning or worse in its columns."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event of a run."""

    name: str
    resource: dict[str, str]
    payload: dict[str, Any]


def run_events(
    manifest: Manifest, links: Links = NO_LINKS, *, is_backfill: bool = False
) -> list[RunEvent]:
    """The events of a run, that of its drift first.

    Args:
        manifest: The run's record.
        links: Pages about the run, and what commands call its job.
        is_backfill: The events are stored but send no message: whoever started the backfill reads
            its page.
    """
    if manifest.decision is not None:  # its events were emitted when it was held
        return []

    candidates = (drift_event(manifest, links), held_event(manifest, links))
    events = [event for event in candidates if event is not None]

    for event in events:
        # One message per run. The event of a held run says what moved, and asks for a decision.
        sends_message = event is events[-1] and not is_backfill
        event.resource["nightscore.notify"] = "true" if sends_message else "false"

    return events


def drift_event(manifest: Manifest, links: Links = NO_LINKS) -> RunEvent | None:
    """`nightscore.drift.critical`, `.warning` or `.resolved`; None if no column changed its state.

    A column counts if it is a warning or worse and new, if it became worse, or if it no longer is.
    Seasonal findings count as information.
    """
    changes = find_transition(manifest)
    if not changes:
        return None

    severity = changes.severity or "resolved"
    return RunEvent(
        f"nightscore.drift.{severity}",
        _resource(manifest, severity),
        _payload(manifest, changes, severity, links),
    )


def held_event(manifest: Manifest, links: Links = NO_LINKS) -> RunEvent | None:
    """`nightscore.run.held` if any gate holds the run: somebody has to decide."""
    if manifest.status != "held":
        return None

    changes = find_transition(manifest)
    severity = _held_severity(manifest, changes)
    payload = _payload(manifest, changes, severity, links)
    return RunEvent("nightscore.run.held", _resource(manifest, severity), payload)


def _held_severity(manifest: Manifest, changes: Transition) -> str:
    """The severity of all columns, not of new findings only: a decision needs the whole state."""
    if manifest.drift and manifest.drift.verdict in ("warning", "critical"):
        return manifest.drift.verdict
    return "resolved" if changes.resolved else "ok"


def emit_run_events(manifest: Manifest, job: str, report_url: str = "") -> None:
    """Emit a run's events without waiting for the server. Errors are logged, and cost only them.

    Args:
        manifest: The run's record.
        job: What commands call its job: the name, path or URL under which it was given.
        report_url: The run's report, if a server has it.
    """
    try:
        if not PREFECT_API_URL.value():  # Prefect would start a server for them
            return

        links = Links(flow_run.ui_url or "", report_url, job)
        for event in run_events(manifest, links, is_backfill=is_backfill()):
            emit_event(event.name, resource=event.resource, payload=event.payload)
    except Exception as error:  # noqa: BLE001 (whatever Prefect does: the partition is scored)
        where = f"run_id={manifest.run_id} partition={show_value(manifest.partition)}"
        logger.warning(
            "%s its events could not be emitted: %s: %s", where, type(error).__name__, error
        )


def _resource(manifest: Manifest, severity: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"nightscore.job.{manifest.job}",
        "prefect.resource.name": manifest.job,
        "nightscore.partition": show_value(manifest.partition),
        "nightscore.severity": severity,
    }


def _payload(
    manifest: Manifest, changes: Transition, severity: str, links: Links
) -> dict[str, Any]:
    return {
        "job": manifest.job,
        "partition": show_value(manifest.partition),
        "run_id": manifest.run_id,
        "model": manifest.model.name,
        "model_version": manifest.model.version,
        "status": manifest.status,
        "severity": severity,
        "sign": SIGNS[severity],
        "verdict": manifest.drift.verdict if manifest.drift else None,
        # Names of columns and segments come from the data: none may forge a line of a message.
        "subject": printable(subject(manifest, changes)),
        "message": printable(message(manifest, changes, links)),
        "text": "\n".join(map(printable, text_lines(manifest, changes, links))),
        "new": list(map(_finding, changes.new[:MAX_FINDINGS])),
        "worse": list(map(_finding, changes.worse[:MAX_FINDINGS])),
        "resolved": list(changes.resolved[:MAX_FINDINGS]),
        "explained": list(changes.explained[:MAX_FINDINGS]),
        "n_new": len(changes.new),
        "n_worse": len(changes.worse),
        "n_resolved": len(changes.resolved),
        "gates": [_gate(gate) for gate in manifest.gates if not gate.passed],
        "report": report_command(manifest, links),
        "report_url": links.report,
        "flow_run_url": links.flow_run,
    }


def _gate(gate: GateRecord) -> dict[str, str]:
    return {
        "gate": gate.gate,
        "action": gate.action,
        "expected": gate.expected,
        "found": gate.found,
    }


def _finding(finding: FindingRecord) -> dict[str, Any]:
    return {
        "column": finding.column,
        "role": finding.role,
        "severity": counted(finding),
        "was": finding.was,
        "since": finding.since,
        "impact": finding.impact,
        "reference": finding.reference,
        "reasons": list(finding.reasons),
        "drivers": [driver.model_dump() for driver in finding.drivers],
    }
