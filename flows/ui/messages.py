"""The messages of a run's events, short enough for a phone at night."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from nightscore.flows.ui.artifacts import holding_gates
from nightscore.flows.ui.transition import Transition
from nightscore.monitoring.drift.findings import column_names, counted, worse
from nightscore.outputs.guarantees import decisions, instead_of_a_decision
from nightscore.schemas.drift import ORDER, Severity
from nightscore.schemas.manifest import FindingRecord, GateRecord, Manifest
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import show_value

MAX_SHOWN = 8
"""Findings in a message."""
MAX_NAMES = 3
"""Column names in a subject."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where a message leads: pages about the run, empty where there is none, and its job."""

    flow_run: str = ""
    report: str = ""
    job: str = ""
    """What commands call the job: the name, path or URL under which it was given. Empty: the name
    in its file."""


NO_LINKS = Links()


def subject(manifest: Manifest, changes: Transition) -> str:
    """Where, how severe, and which columns: enough for readers who read no further."""
    parts = []
    if manifest.status == "held":
        gates = ", ".join(gate.gate for gate in holding_gates(manifest))
        parts.append(f"held by {gates or 'a gate'}")
    parts += _drift_subject(manifest, changes)
    return f"{manifest.job} {show_value(manifest.partition)}: {'; '.join(parts)}"


def _drift_subject(manifest: Manifest, changes: Transition) -> list[str]:
    if changes.severity:
        names = column_names(_most_severe_first(changes))
        return [f"drift {changes.severity}: {named_first(names)}"]

    if not changes.resolved:
        return []

    verb = "resolved"
    if len(changes.explained) == len(changes.resolved):
        verb = "is usual by now"

    parts = [f"drift {verb}: {named_first(changes.resolved)}"]

    ongoing = _ongoing(manifest)
    if ongoing and manifest.drift:
        parts.append(f"still {manifest.drift.verdict}: {named_first(ongoing)}")

    return parts


def message(manifest: Manifest, changes: Transition, links: Links) -> str:
    """Everything in one line."""
    state, *commands = _next_steps(manifest, links)
    return f"{subject(manifest, changes)}. {state} {'; '.join(commands)}"


def text_lines(manifest: Manifest, changes: Transition, links: Links) -> list[str]:
    """The lines of a message."""
    lines = []
    if manifest.status == "held":
        gates = [_gate_line(gate, manifest, changes) for gate in holding_gates(manifest)]
        lines += ["The run is complete, and held by:", *gates, ""]

    lines += _finding_lines("New", changes.new, manifest)
    lines += _finding_lines("Worse", changes.worse, manifest)
    lines += _resolved_lines(manifest, changes)

    if manifest.drift and manifest.drift.score_movement is not None:
        score, movement = manifest.drift.score, manifest.drift.score_movement
        lines += [f"The mean of {score} moved by {movement:+.4f} since the baseline.", ""]

    state, *commands = _next_steps(manifest, links)
    lines += [state, *(f"    {command}" for command in commands), ""]

    lines.append(f"Model: {named_model(manifest.model.name, manifest.model.version)}")

    for title, url in (("Report", links.report), ("Run", links.flow_run)):
        if url:
            lines.append(f"{title}: {url}")

    return lines


def report_command(manifest: Manifest, links: Links) -> str:
    """The command that shows the run's report."""
    return _command("report", manifest, links)


def _finding_lines(title: str, findings: Sequence[FindingRecord], manifest: Manifest) -> list[str]:
    if not findings:
        return []

    lines = [f"{title}, against {_references(findings, manifest)}:"]
    lines += map(_finding_line, findings[:MAX_SHOWN])
    if len(findings) > MAX_SHOWN:
        lines.append(f"• and {len(findings) - MAX_SHOWN} more")
    return [*lines, ""]


def _finding_line(finding: FindingRecord) -> str:
    state = f"• {finding.column}: {counted(finding)}"

    if finding.was is not None and finding.was != "ok":
        state += f" (was {finding.was})"

    if finding.status == "ongoing" and finding.since:
        state += f", since {finding.since}"

    if finding.impact is not None:
        state += f", moves the mean score by {finding.impact:+.4f}"

    reasons = list(finding.reasons)
    line = f"{state}. {'; '.join(reasons)}"

    if finding.drivers:
        driver = finding.drivers[0]
        line += f"; most of it in {driver.segment} ({driver.share:.0%})"

    return line


def _resolved_lines(manifest: Manifest, changes: Transition) -> list[str]:
    lines = []

    resolved = [name for name in changes.resolved if name not in changes.explained]
    if resolved:
        lines += [f"Resolved: {named_first(resolved, MAX_SHOWN)}", ""]

    if changes.explained:
        names = named_first(changes.explained, MAX_SHOWN)
        lines += [f"As before, but now seasonal or usual: {names}", ""]

    ongoing = _ongoing(manifest)
    if not changes.severity and changes.resolved and ongoing:
        lines += [f"Still a warning or worse: {named_first(ongoing, MAX_SHOWN)}", ""]

    return lines


def _gate_line(gate: GateRecord, manifest: Manifest, changes: Transition) -> str:
    """The result of a gate. Findings of the drift gate are not repeated if all are shown below."""
    shown = [*changes.new[:MAX_SHOWN], *changes.worse[:MAX_SHOWN]]
    severity: Severity = "warning" if "warning" in gate.expected else "critical"
    found = gate.found

    if gate.gate == "drift" and manifest.drift:
        findings = worse(manifest.drift.findings, severity)
        if findings and all(finding in shown for finding in findings):
            found = "the findings below"
    return f"• {gate.gate}: expected {gate.expected}, found {found}"


def _next_steps(manifest: Manifest, links: Links) -> list[str]:
    """What readers see now, then the commands to run."""
    look = [report_command(manifest, links)] if manifest.drift else []
    if manifest.status != "held":
        return ["The predictions are published. Look:", *look]

    before = "nothing of this partition"
    if manifest.replaces:
        before = "the previous predictions"
    given_as = links.job or manifest.job
    commands = decisions(manifest, given_as)
    if not commands:
        instead = instead_of_a_decision(manifest, given_as)
        return [f"Readers see {before}. To change that, {instead}. Look:", *look]
    return [f"Readers see {before} until you decide:", *look, ", or ".join(commands)]


def _ongoing(manifest: Manifest) -> list[str]:
    """Columns that are a warning or worse."""
    if manifest.drift is None:
        return []
    return column_names(worse(manifest.drift.findings, "warning"))


def _references(findings: Sequence[FindingRecord], manifest: Manifest) -> str:
    """What the findings are against. The partition before is named: it need not be yesterday's."""
    previous = "the partition before"
    if manifest.drift and manifest.drift.days.get("previous"):
        previous += f" ({manifest.drift.days['previous'][0]})"

    words = {
        "baseline": "the model's baseline",
        "weekdays": "the same weekdays",
        "previous": previous,
    }
    names: dict[str, None] = {}
    for finding in findings:
        names[words.get(finding.reference, finding.reference)] = None

    return " and ".join(names)


def _most_severe_first(changes: Transition) -> list[FindingRecord]:
    """As in the record: the most severe first, then those that move the score most."""
    findings = [*changes.new, *changes.worse]
    return sorted(findings, key=lambda f: (-ORDER.index(counted(f)), -abs(f.impact or 0.0)))


def named_first(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """The first names, and how many more there are."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f" and {len(names) - most} more"
    return text


def _command(verb: str, manifest: Manifest, links: Links) -> str:
    job = links.job or manifest.job
    return shlex.join(["nightscore", verb, job, show_value(manifest.partition)])
