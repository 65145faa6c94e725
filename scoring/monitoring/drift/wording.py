"""Says in words what a comparison came to: for the terminal, the report and Prefect's pages."""

from collections.abc import Sequence

from nightscore.monitoring.drift.findings import column_names, worse
from nightscore.schemas.manifest import DriftRecord, FindingRecord

SHOWN_COLUMNS = 3


def verdict_text(drift: DriftRecord) -> str:
    """A few words for the state of a run."""
    if not drift.references:
        return "nothing to compare with yet"
    moved = column_names(worse(drift.findings, "warning"))
    if moved:
        return f"{drift.verdict}: {list_names(moved, SHOWN_COLUMNS)}"
    return drift.verdict


def show_drivers(finding: FindingRecord) -> list[str]:
    """The segments that drive a finding, a few words each."""
    return [f"{driver.segment} ({driver.kind}, {driver.share:.0%})" for driver in finding.drivers]


def show_references(drift: DriftRecord) -> str:
    """What a run was compared with, by name and day."""
    if not drift.references:
        return "nothing yet"
    return ", ".join(_with_days(name, drift.days.get(name, ())) for name in drift.references)


def show_made_at(drift: DriftRecord) -> str:
    """When a run was compared again; empty for the run's own comparison."""
    if drift.made_at is None:
        return ""
    return (
        f"Compared again at {drift.made_at:%Y-%m-%d %H:%M:%S} UTC, "
        "after neighbouring partitions changed. Gates and alerts are those of the run."
    )


def label_rates(drift: DriftRecord) -> tuple[str, str] | None:
    """The label rate to expect, as a subject and a value; None without a baseline with labels."""
    expected, baseline = drift.expected_rate, drift.baseline_rate
    if expected is None or baseline is None:
        return None

    is_rate = 0 <= baseline <= 1 and 0 <= expected <= 1
    subject = "positive rate" if is_rate else "mean label"
    pattern = "{:.1%}" if is_rate else "{:.4g}"
    value = f"{pattern.format(expected)} ({pattern.format(baseline)} in the baseline)"
    return f"Expected {subject} from the scores", value


def show_rates(drift: DriftRecord) -> str:
    """The same in one line; empty where there is none."""
    rates = label_rates(drift)
    if rates:
        return ": ".join(rates)
    return ""


def resolved_columns(drift: DriftRecord) -> list[str]:
    """Columns whose findings are resolved, without those that are seasonal now."""
    seasonal = {finding.column for finding in drift.findings if finding.is_seasonal}
    return [name for name in drift.resolved if name not in seasonal]


def list_names(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _with_days(reference: str, days: Sequence[str]) -> str:
    if days:
        return f"{reference} ({', '.join(days)})"
    return reference
