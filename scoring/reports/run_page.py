"""The page of a run: what moved, since when, and what it does to the score."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nightscore.monitoring.drift.findings import column_names, counted, worse
from nightscore.monitoring.drift.wording import (
    label_rates,
    resolved_columns,
    show_drivers,
    show_made_at,
    show_references,
)
from nightscore.monitoring.performance.estimates.wording import headlines
from nightscore.outputs.guarantees import decisions, instead_of_a_decision
from nightscore.profiles.table import ColumnProfile, Key
from nightscore.reports.bars import Bars, bars_of
from nightscore.reports.cards import SIGNS, Card, ColumnSides, make_card
from nightscore.reports.page import MAX_PLOTS, Page
from nightscore.reports.series import Past
from nightscore.reports.trends import draw_trends, heat_map
from nightscore.schemas.canary import ENDS, STOPPED
from nightscore.schemas.drift import REFERENCES, Severity
from nightscore.schemas.job import ScoringJob
from nightscore.schemas.manifest import DriftRecord, FindingRecord, Manifest
from nightscore.schemas.model_uri import named_model
from nightscore.schemas.partition import show_value

SHOWN_STEPS = 3
RoleAndName = tuple[str, str]
StatisticsByColumn = dict[RoleAndName, dict[str, dict[str, float | None]]]


def run_page(
    job: ScoringJob,
    manifest: Manifest,
    columns: Sequence[ColumnProfile],
    references: Mapping[str, Sequence[ColumnProfile]],
    past: Sequence[Past],
    earlier_run_id: str | None = None,
) -> Page:
    """The page of a run.

    Args:
        job: Named in commands as it was given.
        manifest: With its drift.
        columns: The run's profile.
        references: Profiles of what it was compared with.
        past: Partitions before it and itself, in order.
        earlier_run_id: The run whose results can be put back in place of these. None: there is
            none.
    """
    drift = manifest.drift
    assert drift is not None  # noqa: S101
    whole = [column for column in columns if not column.segment]

    return Page(
        title=f"{manifest.job}, {show_value(manifest.partition)}",
        verdict=drift.verdict,
        headline=_headline(manifest, drift),
        steps=_steps(job, manifest, drift, earlier_run_id),
        facts=_facts(manifest, drift),
        references=_in_order(references),
        columns=_cards(drift, whole, references, past),
        findings=list(drift.findings),
        heat=heat_map(past),
        trends=draw_trends(past, drift),
        notes=_notes(drift),
        unplotted=max(0, len(whole) - MAX_PLOTS),
    )


def worst_columns(
    manifest: Manifest,
    columns: Sequence[ColumnProfile],
    reference: Sequence[ColumnProfile],
    n_columns: int,
) -> list[tuple[str, Bars]]:
    """Title and bars of the columns with the most severe findings."""
    reference_by_key = {column.key: column for column in reference}
    current_by_key = {column.key: column for column in columns}
    drawn: list[tuple[str, Bars]] = []

    for finding in manifest.drift.findings if manifest.drift else ():
        key: Key = (finding.role, finding.column, "")  # type: ignore[assignment]
        if key not in reference_by_key or key not in current_by_key:
            continue

        bars = bars_of(reference_by_key[key], current_by_key[key])
        if bars is not None:
            drawn.append((f"{SIGNS[counted(finding)]} {finding.column}", bars))

    return drawn[:n_columns]


def _cards(
    drift: DriftRecord,
    columns: Sequence[ColumnProfile],
    references: Mapping[str, Sequence[ColumnProfile]],
    past: Sequence[Past],
) -> list[Card]:
    """One card a column: first those with findings, then predictions."""
    names = _in_order(references)
    first_reference = references[names[0]] if names else ()
    reference_by_key = {column.key: column for column in first_reference}
    rows = past[-1].rows if past else ()
    statistics = _by_column(rows)
    severities = _severities(drift, rows, names)

    findings: dict[RoleAndName, FindingRecord] = {}
    places: dict[RoleAndName, int] = {}
    for place, finding in enumerate(drift.findings):
        findings[finding.role, finding.column] = finding
        places[finding.role, finding.column] = place

    def rank(column: ColumnProfile) -> tuple[int, bool, str]:
        place = places.get((column.role, column.name), len(drift.findings))
        return place, column.role != "prediction", column.name

    cards = []
    for place, column in enumerate(sorted(columns, key=rank)):
        key = (column.role, column.name)
        sides = ColumnSides(
            current=column,
            reference=reference_by_key.get(column.key),
            severity=severities.get(key, "insufficient data"),
            finding=findings.get(key),
            statistics=statistics.get(key, {}),
            references=names,
        )

        cards.append(make_card(sides, is_drawn=place < MAX_PLOTS))

    return cards


def _in_order(references: Mapping[str, Sequence[ColumnProfile]]) -> list[str]:
    return [name for name in REFERENCES if name in references]


def _severities(
    drift: DriftRecord, rows: Iterable[Mapping[str, Any]], references: Sequence[str]
) -> dict[RoleAndName, Severity]:
    """The severity of each column: that of its finding, else that of the table."""
    severities: dict[RoleAndName, Severity] = {}

    for row in rows:
        if row["reference"] in references[:1] and not row["segment"] and row["severity"]:
            severities[row["role"], row["column"]] = row["severity"]

    for finding in drift.findings:
        severities[finding.role, finding.column] = counted(finding)

    return severities


def _by_column(rows: Iterable[Mapping[str, Any]]) -> StatisticsByColumn:
    """Role and name to reference to statistic to value."""
    statistics: StatisticsByColumn = {}

    for row in rows:
        if not row["segment"]:
            by_reference = statistics.setdefault((row["role"], row["column"]), {})
            by_statistic = by_reference.setdefault(row["reference"], {})
            by_statistic[row["statistic"]] = row["value"]

    return statistics


def _headline(manifest: Manifest, drift: DriftRecord) -> str:
    headline = _columns_headline(drift)
    holding = []
    for gate in manifest.gates:
        if not gate.passed and gate.action == "hold":
            holding.append(gate.gate)

    if manifest.status != "held" or not holding:
        return headline
    gates = "gate" if len(holding) == 1 else "gates"
    return f"Held by the {gates} {', '.join(holding)}. {headline}"


def _columns_headline(drift: DriftRecord) -> str:
    if not drift.references:
        return "Nothing to compare with yet: this is the first partition with a profile"

    moved = column_names(worse(drift.findings, "warning"))
    if not moved and drift.verdict == "insufficient data":
        return "Too little data to tell: too few rows, or no column that could be compared"
    if not moved:
        return "No column moved beyond its usual variation"

    advice = "Have a look"
    if drift.verdict == "critical":
        advice = "Check before you use the predictions"

    return f"{advice}: {len(moved)} of {drift.n_columns} columns moved, above all {moved[0]}"


def _steps(
    job: ScoringJob, manifest: Manifest, drift: DriftRecord, earlier_run_id: str | None
) -> list[str]:
    """What moved most, and the commands that help."""
    steps = []
    for finding in worse(drift.findings, "warning")[:SHOWN_STEPS]:
        steps.append(_finding_step(finding, drift))

    if manifest.status == "held":
        steps.append(_decision_step(job, manifest))
    elif drift.verdict == "critical":
        steps.append(_repair_step(job, manifest, earlier_run_id))

    return steps


def _decision_step(job: ScoringJob, manifest: Manifest) -> str:
    commands = decisions(manifest, job.given_as)
    if not commands:
        return f"The run is held: {instead_of_a_decision(manifest, job.given_as)}"

    approve, reject = commands
    return f"The run is held. Publish it with `{approve}`, or drop it with `{reject}`"


def _repair_step(job: ScoringJob, manifest: Manifest, earlier_run_id: str | None) -> str:
    """How readers get right predictions again; a rollback only where there are earlier results."""
    step = "If the input is wrong, have it written again: the next run scores it. "
    if earlier_run_id is None:
        return f"{step}There are no earlier results of this partition to go back to"

    day = show_value(manifest.partition)
    rollback = job.command("rollback", "--from", day, "--to", day, "--run-id", earlier_run_id)
    return f"{step}Until then, give readers the previous results back with `{rollback}`"


def _finding_step(finding: FindingRecord, drift: DriftRecord) -> str:
    parts = [f"{finding.column}: {'; '.join(finding.reasons)}"]
    if finding.impact is not None:
        parts.append(f"it moves the mean {drift.score or 'score'} by {finding.impact:+.4f}")
    if finding.drivers:
        parts.append(f"driven by {' and '.join(show_drivers(finding))}")
    if finding.status == "ongoing" and finding.since:
        parts.append(f"since {finding.since}")
    return "; ".join(parts)


def _facts(manifest: Manifest, drift: DriftRecord) -> list[tuple[str, str]]:
    counts, model = manifest.counts, manifest.model
    rows = (
        f"{counts.rows_in:,} read, {counts.rows_scored:,} scored, "
        f"{counts.rows_quarantined:,} quarantined"
    )

    facts = [
        ("Status", manifest.status),
        ("Rows", rows),
        ("Model", f"{named_model(model.name, model.version)}, {model.digest[:19]}…"),
        ("Compared with", show_references(drift)),
    ]
    facts[3:3] = _canary_facts(manifest)
    for challenger in manifest.challengers:
        facts.append((f"@{challenger.label}", challenger.text))

    if drift.score_movement is not None:
        facts.append((f"Mean {drift.score}", f"{drift.score_movement:+.4f} against the baseline"))
    rates = label_rates(drift)
    if rates:
        facts.append(rates)

    facts += headlines(manifest.estimate)
    facts.append(("Run", manifest.run_id))

    if manifest.finished_at:
        facts.append(("Finished", f"{manifest.finished_at:%Y-%m-%d %H:%M:%S} UTC"))
    made_at = show_made_at(drift)
    if made_at:
        facts.append(("Comparison", made_at))

    facts.append(("Cost of profiling", f"{drift.cpu_share:.1%} of the workers' CPU time"))

    return facts


def _canary_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """Which rows readers see of a challenger, by which flag, and whether that ends."""
    facts = []
    if manifest.flag is not None:
        facts.append(("Flag", str(manifest.flag)))

    if manifest.canary is not None:
        report = f"nightscore report {manifest.job}@{manifest.canary.label} shows its arm"
        facts.append(("Canary", f"{manifest.canary}. {report}"))

    for warning in manifest.warnings:
        if ENDS in warning or warning.startswith(STOPPED):
            facts.append(("Canary", warning))

    return facts


def _notes(drift: DriftRecord) -> list[str]:
    notes = [f"{name} could not be compared: {reason}" for name, reason in drift.errors.items()]
    if drift.unprofiled_rows:
        notes.append(
            f"{drift.unprofiled_rows:,} rows were not profiled, because profiling took more than "
            "its share of CPU time. Rates are those of the other rows"
        )
    resolved = resolved_columns(drift)
    if resolved:
        notes.append(f"Resolved: {', '.join(resolved)}")
    return notes
