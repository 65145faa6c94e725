"""What the comparisons of a partition mean together: what is new, what is only the season, what moves the score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.drift import ORDER, ColumnDrift, Severity
from schemas.manifest import DriftRecord, FindingRecord
from scoring.monitoring.compare import Pair, compare_columns, pair_up, worst
from scoring.monitoring.profile import NumberProfile
from scoring.monitoring.table import ColumnProfile, Key, Scores

REFERENCES = ("baseline", "weekdays", "previous")
"""Whose word counts: the first that there is sets the severity."""
QUIET: tuple[Severity, ...] = ("ok", "insufficient data")


@dataclass(slots=True)
class Comparison:
    """A partition against one reference."""

    columns: dict[Key, ColumnDrift] = field(default_factory=dict)
    impacts: dict[Key, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def compare_profiles(
    current: Sequence[ColumnProfile], references: Mapping[str, Sequence[ColumnProfile]]
) -> dict[str, Comparison]:
    """Each column against each reference that has it over the same bins. Runs in a worker: SciPy is there."""
    now = {column.key: column for column in current}
    return {name: _compare({c.key: c for c in columns}, now) for name, columns in references.items()}


def _compare(then: Mapping[Key, ColumnProfile], now: Mapping[Key, ColumnProfile]) -> Comparison:
    found = Comparison()
    pairs: dict[Key, Pair] = {}
    for key, column in now.items():
        if key not in then:
            continue
        try:
            pairs[key] = pair_up(then[key].profile, column.profile)
        except ValueError as error:
            found.errors[column.name] = str(error)
    found.errors |= {name: "the reference does not have it" for _, name, _ in now.keys() - then.keys()}
    texts = {"\0".join(key): key for key in pairs}
    for drift in compare_columns({text: pairs[key] for text, key in texts.items()}):
        key = texts[drift.name]
        found.columns[key] = drift.model_copy(update={"name": key[1]})
        if (scores := then[key].scores) is not None and key[0] == "feature":
            found.impacts[key] = impact(scores, now[key])
    return found


def impact(scores: Scores, current: ColumnProfile) -> float:
    """What the column's distribution now adds to the mean score: sum over its bins of (q - p) times the bin's mean.

    p and q are the bins' shares in the baseline and now, missing values a bin of their own; the mean is what the
    model said of the baseline's rows in the bin, and of all rows for a bin that the baseline does not have.
    """
    profile = current.profile
    if isinstance(profile, NumberProfile):
        counts: dict[str | None, int] = {str(index): int(count) for index, count in enumerate(profile.counts)}
        counts[None] = profile.n_rows - profile.n_finite
    else:
        counts = dict(profile.counts.items())
        counts[None] = profile.n_null
    n_then, n_now = scores.rows.total(), sum(counts.values())
    if not n_then or not n_now:
        return 0.0
    overall = sum(scores.sums.values()) / n_then
    found = 0.0
    for key in counts.keys() | scores.rows.keys():
        rows = scores.rows.get(key, 0)
        mean = scores.sums[key] / rows if rows else overall
        found += (counts.get(key, 0) / n_now - rows / n_then) * (mean - overall)
    return found


def score_movement(current: ColumnProfile | None, baseline: ColumnProfile | None) -> float | None:
    """The mean of the score now minus then; None where either has no finite value."""
    means = []
    for column in (current, baseline):
        profile = column.profile if column else None
        if not isinstance(profile, NumberProfile) or not profile.n_finite or not np.isfinite(profile.total):
            return None
        means.append(profile.total / profile.n_finite)
    return means[0] - means[1]


def judge(
    comparisons: Mapping[str, Comparison], previous: DriftRecord | None, partition: str | None
) -> tuple[Severity, tuple[FindingRecord, ...], tuple[str, ...]]:
    """The verdict, the findings and what is resolved.

    Args:
        comparisons: By reference.
        previous: Of the partition before.
        partition: Value of this one.
    """
    first = next((name for name in REFERENCES if name in comparisons), None)
    if first is None:
        return "insufficient data", (), ()
    before = {(f.role, f.column): f for f in previous.findings} if previous else {}
    season = comparisons.get("weekdays")
    findings = []
    for key, drift in comparisons[first].columns.items():
        role, name, _ = key
        if drift.severity in QUIET:
            continue
        then = before.get((role, name))
        calm = season.columns.get(key) if season and first == "baseline" else None
        is_ongoing = then is not None and ORDER.index(then.severity) >= ORDER.index("warning")
        findings.append(
            FindingRecord(
                column=name,
                role=role,
                reference=first,
                severity=drift.severity,
                reasons=drift.reasons,
                is_seasonal=drift.severity != "info" and calm is not None and calm.severity in ("ok", "info"),
                impact=comparisons[first].impacts.get(key),
                status="ongoing" if is_ongoing else "new",
                since=then.since if then is not None and is_ongoing else partition,
            )
        )
    findings.sort(key=lambda f: (-ORDER.index(counted(f)), -abs(f.impact or 0.0), f.role, f.column))
    names = {(f.role, f.column) for f in findings if f.severity != "info"}
    compared = {(role, name) for role, name, _ in comparisons[first].columns} - names
    resolved = [f.column for f in before.values() if f.severity != "info" and (f.role, f.column) in compared]
    few = [d.severity for d in comparisons[first].columns.values() if d.severity == "insufficient data"]
    verdict = worst([*map(counted, findings), *few])
    return verdict, tuple(findings), tuple(resolved)


def counted(finding: FindingRecord) -> Severity:
    """The severity for the verdict: what the season explains is information."""
    return "info" if finding.is_seasonal else finding.severity


def worse(findings: Sequence[FindingRecord], severity: Severity) -> list[FindingRecord]:
    """The findings of this severity or worse."""
    return [finding for finding in findings if ORDER.index(counted(finding)) >= ORDER.index(severity)]


def verdict_text(drift: DriftRecord) -> str:
    """A few words for the state of a run."""
    if not drift.references:
        return "nothing to compare with yet"
    moved = worse(drift.findings, "warning")
    names = ", ".join(f.column for f in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return f"{drift.verdict}{f': {names}{more}' if moved else ''}"
