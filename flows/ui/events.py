"""What Prefect is told when a job's columns change their state, or a gate holds a run: events for automations."""

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from nightscore.drift.findings import counted, worse
from nightscore.flows.outcome import is_backfill
from nightscore.schemas.drift import ORDER, Severity
from nightscore.schemas.manifest import FindingRecord, GateRecord, Manifest
from nightscore.schemas.partition import show_value
from nightscore.schemas.text import printable

logger = logging.getLogger("nightscore")

MAX_FINDINGS = 50
"""In an event, whose size the server bounds."""
MAX_SHOWN = 8
"""In a message that a person reads on a telephone."""
MAX_NAMES = 3
SIGNS = {"critical": "🔴", "warning": "🟠", "resolved": "🟢", "ok": "✋"}
"""For the eye; a run that is held while no column is a warning or worse is `ok`."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event of a run."""

    name: str
    resource: dict[str, str]
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Transition:
    """What changed since the partition before. What merely goes on is not in it: nobody is told of that twice."""

    new: tuple[FindingRecord, ...]
    worse: tuple[FindingRecord, ...]
    resolved: tuple[str, ...]
    explained: tuple[str, ...]
    """Of the resolved ones, those that differ as before, which the season or the column's habit explains by now."""

    @property
    def severity(self) -> Severity | None:
        """Of what is new or became worse; None: there is nothing like that."""
        return max((counted(f) for f in (*self.new, *self.worse)), key=ORDER.index, default=None)

    def __bool__(self) -> bool:
        return bool(self.new or self.worse or self.resolved)


def run_events(
    manifest: Manifest, flow_run_url: str = "", report_url: str = "", *, is_backfill: bool = False
) -> list[RunEvent]:
    """The events of a run, the drift's first.

    Args:
        manifest: Of the run.
        flow_run_url: Its page in Prefect.
        report_url: Its report, where there is a server of them.
        is_backfill: Its events are kept, and nobody is sent a message: who started it reads its page.
    """
    if manifest.decision is not None:  # it was told when it was held; who decided knows
        return []
    urls = (flow_run_url, report_url)
    drift, held = drift_event(manifest, *urls), held_event(manifest, *urls)
    found = [event for event in (drift, held) if event is not None]
    for event in found:
        # Of one run one message. That of a held run says what moved, and that somebody has to decide.
        is_last = event is found[-1]
        event.resource["nightscore.notify"] = "true" if is_last and not is_backfill else "false"
    return found


def drift_event(
    manifest: Manifest, flow_run_url: str = "", report_url: str = ""
) -> RunEvent | None:
    """`nightscore.drift.critical`, `.warning` or `.resolved`; None where all is as in the partition before.

    A column counts if it is a warning or worse, and new, or worse than it was, or no longer so. What the season
    explains counts as information.
    """
    changes = transition(manifest)
    if not changes:
        return None
    severity = changes.severity or "resolved"
    return RunEvent(
        f"nightscore.drift.{severity}",
        _resource(manifest, severity),
        _payload(manifest, changes, severity, flow_run_url, report_url),
    )


def held_event(manifest: Manifest, flow_run_url: str = "", report_url: str = "") -> RunEvent | None:
    """`nightscore.run.held` if a gate holds the run, whatever the gate: somebody has to decide."""
    if manifest.status != "held":
        return None
    changes = transition(manifest)
    severity = _held_severity(manifest, changes)
    payload = _payload(manifest, changes, severity, flow_run_url, report_url)
    return RunEvent("nightscore.run.held", _resource(manifest, severity), payload)


def _held_severity(manifest: Manifest, changes: Transition) -> str:
    """Of all columns, not of what is new alone: who decides wants to know how the run stands."""
    verdict = manifest.drift.verdict if manifest.drift else "ok"
    if verdict in ("warning", "critical"):
        return verdict
    return "resolved" if changes.resolved else "ok"


def transition(manifest: Manifest) -> Transition:
    """What a run that is published or held found to have changed; of other runs, nothing."""
    drift = manifest.drift
    if drift is None or manifest.status not in ("published", "held"):
        return Transition((), (), (), ())
    moved = worse(drift.findings, "warning")
    new = tuple(f for f in moved if f.status == "new")
    grown = tuple(f for f in moved if f.status == "ongoing" and _is_worse(f))
    seasonal = {f.column for f in drift.findings if f.is_seasonal}
    return Transition(
        new, grown, drift.resolved, tuple(name for name in drift.resolved if name in seasonal)
    )


def tell(manifest: Manifest, report_url: str = "") -> None:
    """Emit a run's events. They are on their way when it returns; what goes wrong is logged, and costs only them."""
    try:
        if not PREFECT_API_URL.value():  # Prefect would start a server for them
            return
        urls = (flow_run.ui_url or "", report_url)
        for event in run_events(manifest, *urls, is_backfill=is_backfill()):
            emit_event(event.name, resource=event.resource, payload=event.payload)
    except Exception as error:  # noqa: BLE001 (whatever Prefect is up to: the partition is scored)
        where = f"run_id={manifest.run_id} partition={show_value(manifest.partition)}"
        logger.warning(
            "%s its events could not be emitted: %s: %s", where, type(error).__name__, error
        )


def _is_worse(finding: FindingRecord) -> bool:
    """Than in the partition before; a record that does not say what it was then says nothing of a change."""
    return finding.was is not None and ORDER.index(counted(finding)) > ORDER.index(finding.was)


def _resource(manifest: Manifest, severity: str) -> dict[str, str]:
    return {
        "prefect.resource.id": f"nightscore.job.{manifest.job}",
        "prefect.resource.name": manifest.job,
        "nightscore.partition": show_value(manifest.partition),
        "nightscore.severity": severity,
    }


def _payload(
    manifest: Manifest, changes: Transition, severity: str, flow_run_url: str, report_url: str
) -> dict[str, Any]:
    drift = manifest.drift
    return {
        "job": manifest.job,
        "partition": show_value(manifest.partition),
        "run_id": manifest.run_id,
        "model": manifest.model.name,
        "model_version": manifest.model.version,
        "status": manifest.status,
        "severity": severity,
        "sign": SIGNS[severity],
        "verdict": drift.verdict if drift else None,
        # Names of columns and segments come from the data: none may forge a line of a message.
        "subject": printable(_subject(manifest, changes)),
        "message": printable(_message(manifest, changes)),
        "text": "\n".join(map(printable, _text(manifest, changes, flow_run_url, report_url))),
        "new": [_finding(f) for f in changes.new[:MAX_FINDINGS]],
        "worse": [_finding(f) for f in changes.worse[:MAX_FINDINGS]],
        "resolved": list(changes.resolved[:MAX_FINDINGS]),
        "explained": list(changes.explained[:MAX_FINDINGS]),
        "n_new": len(changes.new),
        "n_worse": len(changes.worse),
        "n_resolved": len(changes.resolved),
        "gates": [
            {
                "gate": gate.gate,
                "action": gate.action,
                "expected": gate.expected,
                "found": gate.found,
            }
            for gate in manifest.gates
            if not gate.passed
        ],
        "report": _command("report", manifest),
        "report_url": report_url,
        "flow_run_url": flow_run_url,
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


def _subject(manifest: Manifest, changes: Transition) -> str:
    """Who reads no further knows where, how bad, and which columns."""
    moved = [f.column for f in _sorted(changes)]
    if changes.severity:
        what = f"drift {changes.severity}: {_names(moved)}"
    else:
        verb = "is usual by now" if len(changes.explained) == len(changes.resolved) else "resolved"
        what = f"drift {verb}: {_names(changes.resolved)}" if changes.resolved else ""
        if what and (going_on := _going_on(manifest)):
            what += (
                f"; still {manifest.drift.verdict if manifest.drift else ''}: {_names(going_on)}"
            )
    if manifest.status == "held":
        closed = ", ".join(
            gate.gate for gate in manifest.gates if not gate.passed and gate.action == "hold"
        )
        what = f"held by {closed or 'a gate'}{'; ' if what else ''}{what}"
    return f"{manifest.job} {show_value(manifest.partition)}: {what}"


def _message(manifest: Manifest, changes: Transition) -> str:
    """All of it in one line."""
    state, *commands = _next_steps(manifest)
    return f"{_subject(manifest, changes)}. {state} {'; '.join(commands)}"


def _next_steps(manifest: Manifest) -> list[str]:
    """What readers see now, then what to run."""
    look = [_command("report", manifest)] if manifest.drift else []
    if manifest.status != "held":
        return ["The predictions are published. Look:", *look]
    decide = [_command("approve", manifest), _command("reject", manifest)]
    had = "keep what they had" if manifest.replaces else "have nothing of this partition"
    return [f"Readers {had} until somebody decides:", *look, f"{decide[0]}, or {decide[1]}"]


def _going_on(manifest: Manifest) -> list[str]:
    """Columns that are a warning or worse."""
    return (
        [finding.column for finding in worse(manifest.drift.findings, "warning")]
        if manifest.drift
        else []
    )


def _text(manifest: Manifest, changes: Transition, flow_run_url: str, report_url: str) -> list[str]:
    """The lines that a person reads on a telephone at night."""
    lines = []
    if manifest.status == "held":
        lines += ["The run is complete, and held by:"]
        closed = [gate for gate in manifest.gates if not gate.passed and gate.action == "hold"]
        lines += [_gate_line(gate, manifest, changes) for gate in closed]
        lines.append("")
    for title, findings in (("New", changes.new), ("Worse", changes.worse)):
        if findings:
            lines += [
                f"{title}, against {_references(findings, manifest)}:",
                *map(_line, findings[:MAX_SHOWN]),
            ]
            if len(findings) > MAX_SHOWN:
                lines.append(f"• and {len(findings) - MAX_SHOWN} more")
            lines.append("")
    over = [name for name in changes.resolved if name not in changes.explained]
    if over:
        lines += [f"No longer a warning or worse: {_names(over, MAX_SHOWN)}", ""]
    if changes.explained:
        lines += [
            f"As before, but usual by now or only the season: {_names(changes.explained, MAX_SHOWN)}",
            "",
        ]
    if not changes.severity and changes.resolved and (going_on := _going_on(manifest)):
        lines += [f"Still a warning or worse: {_names(going_on, MAX_SHOWN)}", ""]
    if manifest.drift and manifest.drift.score_movement is not None:
        moved = f"{manifest.drift.score_movement:+.4f}"
        lines += [f"The mean of {manifest.drift.score} is {moved} away from the baseline's.", ""]
    state, *commands = _next_steps(manifest)
    lines += [state, *(f"    {command}" for command in commands), ""]
    lines += [f"Model: {manifest.model.name} version {manifest.model.version}"]
    lines += [
        f"{title}: {url}" for title, url in (("Report", report_url), ("Run", flow_run_url)) if url
    ]
    return lines


def _gate_line(gate: GateRecord, manifest: Manifest, changes: Transition) -> str:
    """What a gate has found; the drift gate's findings are not said twice where all of them stand below."""
    shown = [*changes.new[:MAX_SHOWN], *changes.worse[:MAX_SHOWN]]
    severity: Severity = "warning" if "warning" in gate.expected else "critical"
    found = worse(manifest.drift.findings, severity) if manifest.drift else []
    is_below = gate.gate == "drift" and bool(found) and all(finding in shown for finding in found)
    return f"• {gate.gate}: expected {gate.expected}, found {'what is below' if is_below else gate.found}"


def _references(findings: Sequence[FindingRecord], manifest: Manifest) -> str:
    """What the findings are against, with the day of the partition before: it may be another than yesterday's."""
    days = manifest.drift.days if manifest.drift else {}
    before = f" ({days['previous'][0]})" if days.get("previous") else ""
    words = {
        "baseline": "the model's baseline",
        "weekdays": "the same weekdays",
        "previous": f"the partition before{before}",
    }
    return " and ".join(dict.fromkeys(words.get(f.reference, f.reference) for f in findings))


def _line(finding: FindingRecord) -> str:
    was = f" (was {finding.was})" if finding.was is not None and finding.was != "ok" else ""
    since = f", since {finding.since}" if finding.status == "ongoing" and finding.since else ""
    impact = (
        f", moves the mean score by {finding.impact:+.4f}" if finding.impact is not None else ""
    )
    part = (
        "; most of it in {0.segment} ({0.share:.0%})".format(finding.drivers[0])
        if finding.drivers
        else ""
    )
    return f"• {finding.column}: {counted(finding)}{was}{since}{impact}. {'; '.join(finding.reasons)}{part}"


def _sorted(changes: Transition) -> list[FindingRecord]:
    """As in the record: the most severe first, then what moves the score most."""
    found = [*changes.new, *changes.worse]
    return sorted(found, key=lambda f: (-ORDER.index(counted(f)), -abs(f.impact or 0.0)))


def _names(names: Sequence[str], most: int = MAX_NAMES) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _command(verb: str, manifest: Manifest) -> str:
    return f"nightscore {verb} {shlex.quote(manifest.job)} {shlex.quote(show_value(manifest.partition))}"
