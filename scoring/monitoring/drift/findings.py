"""Judges a partition: what differs, what is new, what is seasonal, what is resolved."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from nightscore.monitoring.drift.compare_profiles import Comparison
from nightscore.monitoring.drift.grade import worst
from nightscore.monitoring.drift.seasonal import LEAST_WEEKDAYS, is_explained
from nightscore.profiles.table import Habit, Key
from nightscore.schemas.drift import ORDER, REFERENCES, ColumnDrift, Severity, is_at_least
from nightscore.schemas.manifest import DriftRecord, DriverRecord, FindingRecord

QUIET: tuple[Severity, ...] = ("ok", "insufficient data")
"""No finding comes of these."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference of the schema or of the number of rows, not of a column's values."""

    role: Literal["schema", "rows"]
    name: str
    reference: str
    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What else counts when a partition is judged."""

    partition: str | None
    previous: DriftRecord | None = None
    """Comparison of the partition before: it says since when a finding lasts."""
    changes: Sequence[Change] = ()
    """Findings that are not about a column's values."""
    drivers: Mapping[Key, tuple[DriverRecord, ...]] = field(default_factory=dict)
    """Segments behind the difference of each column."""
    habits: Mapping[Key, Habit] = field(default_factory=dict)
    """Distances of each column from the baseline in the partitions before."""
    n_weekdays: int = LEAST_WEEKDAYS
    """Partitions that are pooled as `weekdays`."""


class Judgement(NamedTuple):
    """What the comparisons of a partition mean together."""

    verdict: Severity
    findings: tuple[FindingRecord, ...]
    resolved: tuple[str, ...]
    """Columns that were a warning or worse in the partition before, and no longer are."""


class _Compared(NamedTuple):
    """A column and the first reference that has it."""

    reference: str
    drift: ColumnDrift


def judge(comparisons: Mapping[str, Comparison], context: Context) -> Judgement:
    """The verdict, the findings and what is resolved.

    Args:
        comparisons: By reference.
        context: What else counts.
    """
    columns = _first_comparisons(comparisons)
    if not columns and not context.changes:
        return Judgement("insufficient data", (), ())

    previous = _by_column(context.previous.findings) if context.previous else {}
    findings = []
    for finding in _find(columns, comparisons, context):
        before = previous.get((finding.role, finding.column))
        findings.append(_date(finding, before, context.partition))

    findings.sort(key=_rank)
    severities = [counted(finding) for finding in findings]
    if not columns or _has_too_little_data(columns):
        severities.append("insufficient data")

    return Judgement(worst(severities), tuple(findings), _resolved(columns, findings, previous))


def _has_too_little_data(columns: Mapping[Key, _Compared]) -> bool:
    return any(column.drift.severity == "insufficient data" for column in columns.values())


def counted(finding: FindingRecord) -> Severity:
    """The severity that counts for the verdict: seasonal findings are information."""
    if finding.is_seasonal:
        return "info"
    return finding.severity


def worse(findings: Sequence[FindingRecord], severity: Severity) -> list[FindingRecord]:
    """The findings of this severity or worse."""
    return [finding for finding in findings if is_at_least(counted(finding), severity)]


def column_names(findings: Iterable[FindingRecord]) -> list[str]:
    """The columns of findings in their order, each once: it may be a feature and in the schema."""
    return list(dict.fromkeys(finding.column for finding in findings))


def _first_comparisons(comparisons: Mapping[str, Comparison]) -> dict[Key, _Compared]:
    """Each column against the first reference that has it: the baseline may lack a new column."""
    columns: dict[Key, _Compared] = {}
    for name in REFERENCES:
        comparison = comparisons.get(name, Comparison())
        for key, drift in comparison.columns.items():
            _, _, segment = key
            if not segment:
                columns.setdefault(key, _Compared(name, drift))
    return columns


def _find(
    columns: Mapping[Key, _Compared], comparisons: Mapping[str, Comparison], context: Context
) -> list[FindingRecord]:
    has_weekdays = context.n_weekdays >= LEAST_WEEKDAYS
    weekdays = comparisons.get("weekdays") if has_weekdays else None
    findings = []

    for key, (reference, drift) in columns.items():
        if drift.severity in QUIET:
            continue

        role, name, _ = key
        findings.append(
            FindingRecord(
                column=name,
                role=role,
                reference=reference,
                severity=drift.severity,
                reasons=drift.reasons,
                is_seasonal=reference == "baseline" and _is_seasonal(key, drift, weekdays, context),
                impact=comparisons[reference].impacts.get(key),
                drivers=context.drivers.get(key, ()),
            )
        )

    for change in context.changes:
        findings.append(
            FindingRecord(
                column=change.name,
                role=change.role,
                reference=change.reference,
                severity=change.severity,
                reasons=(change.reason,),
            )
        )

    return findings


def _is_seasonal(
    key: Key, drift: ColumnDrift, weekdays: Comparison | None, context: Context
) -> bool:
    if drift.severity == "info":
        return False
    # Predictions have no habits: that they move is news, whatever explains it.
    habit = context.habits.get(key, {}) if key[0] != "prediction" else {}
    on_weekdays = weekdays.columns.get(key) if weekdays else None
    return is_explained(drift, on_weekdays, habit)


def _date(
    finding: FindingRecord, before: FindingRecord | None, partition: str | None
) -> FindingRecord:
    """The finding with its first day.

    It is ongoing while the day before had one of a warning or worse. One that was seasonal so far
    and is no longer counts as new.
    """
    if before is None:
        return finding.model_copy(update={"status": "new", "since": partition, "was": None})

    severity = before.severity if finding.is_seasonal else counted(before)
    is_ongoing = is_at_least(severity, "warning")

    return finding.model_copy(
        update={
            "status": "ongoing" if is_ongoing else "new",
            "since": before.since if is_ongoing else partition,
            "was": counted(before),
        }
    )


def _rank(finding: FindingRecord) -> tuple[int, float, str, str]:
    """The most severe first, then what moves the score most."""
    severity = ORDER.index(counted(finding))
    return -severity, -abs(finding.impact or 0.0), finding.role, finding.column


def _resolved(
    columns: Mapping[Key, _Compared],
    findings: Sequence[FindingRecord],
    previous: Mapping[tuple[str, str], FindingRecord],
) -> tuple[str, ...]:
    """Names of what was a warning or worse before, was compared again, and is none any longer."""
    graded: set[tuple[str, str]] = set()
    for finding in findings:
        if counted(finding) != "info":
            graded.add((finding.role, finding.column))

    compared: set[tuple[str, str]] = set()
    for (role, name, _), column in columns.items():
        if column.drift.severity != "insufficient data":
            compared.add((role, name))

    names_of_graded = {name for _, name in graded}
    resolved = []
    for key, finding in previous.items():
        is_compared = key in compared or finding.role in ("schema", "rows")
        if counted(finding) != "info" and is_compared and key not in graded:
            resolved.append(_name_of(finding, names_of_graded))

    return tuple(resolved)


def _name_of(finding: FindingRecord, graded: Collection[str]) -> str:
    """A column's name; with its role where the column itself is still a warning or worse."""
    if finding.column in graded:
        return f"{finding.column} ({finding.role})"
    return finding.column


def _by_column(findings: Sequence[FindingRecord]) -> dict[tuple[str, str], FindingRecord]:
    return {(finding.role, finding.column): finding for finding in findings}
