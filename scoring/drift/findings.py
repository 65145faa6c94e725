"""What the comparisons of a partition mean together: what is new, what is only the season, what moves the score."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from nightscore.drift.distances import compare_groups, pair_up, worst
from nightscore.drift.measure import Pair
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile, Habit, Key, Scores
from nightscore.schemas.drift import ORDER, ColumnDrift, Severity, Signal
from nightscore.schemas.manifest import DriftRecord, DriverRecord, FindingRecord

REFERENCES = ("baseline", "weekdays", "previous")
"""Whose word counts: the first that there is sets the severity."""
LEAST_HABIT = 14
"""Partitions before that a habit takes."""
HABIT_DAYS = 28
CALM_SHIFT = 1.0
"""In the weekdays' standard deviations: values beyond the baseline's range are in one bin, however far beyond."""
LEAST_WEEKDAYS = 2
"""Of one day nobody knows whether it was as it ought to be."""
WHOLE = 0.999
HABIT_SLACK = 0.1
"""Of the median: a column that is always as far away moves a little with the number of rows."""
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
    """Each column against each reference that has it over the same bins; segments, which are many, against one."""
    now = {column.key: column for column in current}
    whole = {key: column for key, column in now.items() if not key[2]}
    with_segments = next(
        (name for name in REFERENCES if any(c.segment for c in references.get(name, ()))), None
    )
    then = {
        name: {column.key: column for column in columns} for name, columns in references.items()
    }
    found = {name: Comparison() for name in references}
    paired = {
        name: _pair_up(then[name], now if name == with_segments else whole, found[name])
        for name in references
    }
    # Significance is corrected for segments apart: they are many, and depend on the whole.
    groups = [(name, of_segments) for name in references for of_segments in (False, True)]
    texts = [
        {"\0".join(key): key for key in paired[name] if bool(key[2]) == part}
        for name, part in groups
    ]
    compared = compare_groups(
        [
            {text: paired[name][key] for text, key in keys.items()}
            for (name, _), keys in zip(groups, texts, strict=True)
        ]
    )
    for (name, _), keys, drifts in zip(groups, texts, compared, strict=True):
        for drift in drifts:
            key = keys[drift.name]
            found[name].columns[key] = drift.model_copy(update={"name": key[1]})
            if (scores := then[name][key].scores) is not None and key[0] == "feature":
                found[name].impacts[key] = impact(scores, now[key])
    return found


def _pair_up(
    then: Mapping[Key, ColumnProfile], now: Mapping[Key, ColumnProfile], found: Comparison
) -> dict[Key, Pair]:
    """The columns that can be compared; of the others `found` says why not."""
    pairs: dict[Key, Pair] = {}
    for key, column in now.items():
        if key not in then:
            continue
        try:
            pairs[key] = pair_up(then[key].profile, column.profile)
        except ValueError as error:
            found.errors[column.name] = str(error)
    unknown = {name for _, name, segment in now.keys() - then.keys() if not segment}
    found.errors |= dict.fromkeys(sorted(unknown), "the reference does not have it")
    return pairs


def impact(scores: Scores, current: ColumnProfile) -> float:
    """What the column's distribution now adds to the mean score: sum over its bins of (q - p) times the bin's mean.

    p and q are the bins' shares in the baseline and now, missing values a bin of their own; the mean is what the
    model said of the baseline's rows in the bin, and of all rows for a bin that the baseline does not have.
    """
    profile = current.profile
    if isinstance(profile, NumberProfile):
        counts: dict[str | None, int] = {
            str(index): int(count) for index, count in enumerate(profile.counts)
        }
        counts[None] = profile.n_rows - profile.n_finite
    else:
        counts = dict(profile.counts.items())
        counts[None] = profile.n_null
    return (
        _shifted_mean(scores, counts) - scores.mean
        if scores.rows.total() and sum(counts.values())
        else 0.0
    )


def expected_rate(scores: Scores, score: ColumnProfile | None) -> float | None:
    """The mean label that today's scores let expect: sum over the score's bins of q times the baseline's mean label.

    It is right as far as the model's scores mean what they meant in the baseline (no concept drift). None without
    scores.
    """
    if score is None or not isinstance(score.profile, NumberProfile) or not score.profile.n_finite:
        return None
    counts: dict[str | None, int] = {
        str(index): int(n) for index, n in enumerate(score.profile.counts)
    }
    return _shifted_mean(scores, counts) if scores.rows.total() else None


def _shifted_mean(scores: Scores, counts: Mapping[str | None, int]) -> float:
    """The mean of what `scores` has, were its bins filled like `counts`; the mean of all for a bin without rows."""
    overall, n_now = scores.mean, sum(counts.values())
    found = 0.0
    for key, count in counts.items():
        rows = scores.rows.get(key, 0)
        found += count / n_now * ((scores.sums[key] / rows if rows else overall) - overall)
    return overall + found


def score_movement(current: ColumnProfile | None, baseline: ColumnProfile | None) -> float | None:
    """The mean of the score now minus then; None where either has no finite value."""
    means = []
    for column in (current, baseline):
        profile = column.profile if column else None
        if (
            not isinstance(profile, NumberProfile)
            or not profile.n_finite
            or not np.isfinite(profile.total)
        ):
            return None
        means.append(profile.total / profile.n_finite)
    return means[0] - means[1]


@dataclass(frozen=True, slots=True)
class Change:
    """A difference that is none of a column's values: of the schema, or of the number of rows."""

    role: Literal["schema", "rows"]
    name: str
    reference: str
    severity: Severity
    reason: str


def judge(
    comparisons: Mapping[str, Comparison],
    previous: DriftRecord | None,
    partition: str | None,
    changes: Sequence[Change] = (),
    drivers: Mapping[Key, tuple[DriverRecord, ...]] | None = None,
    habits: Mapping[Key, Habit] | None = None,
    n_weekdays: int = LEAST_WEEKDAYS,
) -> tuple[Severity, tuple[FindingRecord, ...], tuple[str, ...]]:
    """The verdict, the findings and what is resolved.

    Args:
        comparisons: By reference.
        previous: Of the partition before.
        partition: Value of this one.
        changes: Findings of other kinds.
        drivers: Of the columns, as far as there are segments.
        habits: Of the columns, how far they were from the baseline in the partitions before.
        n_weekdays: Partitions that are pooled as `weekdays`.
    """
    columns: dict[Key, tuple[str, ColumnDrift]] = {}
    for name in REFERENCES:
        for key, drift in comparisons[name].columns.items() if name in comparisons else ():
            if not key[2]:
                columns.setdefault(
                    key, (name, drift)
                )  # one that the baseline does not have yet is compared even so
    if not columns and not changes:
        return "insufficient data", (), ()
    season = comparisons.get("weekdays") if n_weekdays >= LEAST_WEEKDAYS else None
    findings = []
    for key, (name, drift) in columns.items():
        if drift.severity in QUIET:
            continue
        # Predictions have no habits: that they move is news, whatever explains it.
        habit = (habits or {}).get(key, {}) if key[0] != "prediction" else {}
        calm = season.columns.get(key) if season else None
        is_seasonal = (
            name == "baseline" and drift.severity != "info" and _is_explained(drift, calm, habit)
        )
        findings.append(
            FindingRecord(
                column=key[1],
                role=key[0],
                reference=name,
                severity=drift.severity,
                reasons=drift.reasons,
                is_seasonal=is_seasonal,
                impact=comparisons[name].impacts.get(key),
                drivers=(drivers or {}).get(key, ()),
            )
        )
    findings += [
        FindingRecord(
            column=c.name,
            role=c.role,
            reference=c.reference,
            severity=c.severity,
            reasons=(c.reason,),
        )
        for c in changes
    ]
    before = {(f.role, f.column): f for f in previous.findings} if previous else {}
    findings = [
        _dated(finding, before.get((finding.role, finding.column)), partition)
        for finding in findings
    ]
    findings.sort(key=lambda f: (-ORDER.index(counted(f)), -abs(f.impact or 0.0), f.role, f.column))
    graded = {(f.role, f.column) for f in findings if counted(f) != "info"}
    told: set[tuple[str, str]] = {
        (role, name)
        for (role, name, _), (_, d) in columns.items()
        if d.severity != "insufficient data"
    }
    told |= {key for key in before if key[0] in ("schema", "rows")}
    names = {column for _, column in graded}
    over = [
        _name_of(f, names)
        for key, f in before.items()
        if counted(f) != "info" and key in told - graded
    ]
    few = [d.severity for _, d in columns.values() if d.severity == "insufficient data"]
    if not columns:
        few.append("insufficient data")
    return worst([*map(counted, findings), *few]), tuple(findings), tuple(over)


def _name_of(finding: FindingRecord, graded: Collection[str]) -> str:
    """A column's name; with its role where the column itself is a warning or worse still."""
    return f"{finding.column} ({finding.role})" if finding.column in graded else finding.column


def distances(drift: ColumnDrift) -> dict[str, float]:
    """How far a column is from its reference, one number for each thing that may differ; 0 where it is not known.

    `shift` stands beside the distribution, whose index has its greatest value once all rows are in other bins.
    """
    values = drift.statistics
    ratio = values.get("distinct_ratio")
    return {
        "distribution": values.get("psi_adjusted") or 0.0,
        "shift": values.get("wasserstein_over_std") or 0.0,
        "nulls": abs(drift.null_rate_difference or 0.0),
        "range": values.get("out_of_range_rate") or 0.0,
        "distinct": 0.0 if ratio is None else max(0.0, 1.0 - ratio),
        "unseen": values.get("unseen_category_rate") or 0.0,
    }


def _is_explained(drift: ColumnDrift, calm: ColumnDrift | None, habit: Habit) -> bool:
    """Whether all that speaks for a warning or worse is what the season, or the column's habit, shows as well.

    Days are no samples of one distribution: one day's weather differs from a quarter's beyond any doubt, and so does
    the next one's. Such a column is no news while it is no further from the baseline than it uses to be.
    """
    return all(
        _is_usual(drift, signal, habit) or (calm is not None and _is_calm(calm, signal))
        for signal, severity in drift.signals.items()
        if ORDER.index(severity) >= ORDER.index("warning")
    )


def _is_calm(calm: ColumnDrift, signal: Signal) -> bool:
    """Whether the same weekdays show this as well. They have no range of their own: who is like them is within it."""
    if calm.severity == "insufficient data":
        return False
    like: tuple[Signal, ...] = (signal, "distribution") if signal == "range" else (signal,)
    if any(ORDER.index(calm.signals.get(name, "ok")) >= ORDER.index("warning") for name in like):
        return False
    shift = calm.statistics.get("wasserstein_over_std")
    return signal not in ("distribution", "range") or shift is None or shift <= CALM_SHIFT


def _is_usual(drift: ColumnDrift, signal: Signal, habit: Habit) -> bool:
    now = distances(drift)
    names = (signal, "shift") if signal in ("distribution", "range") else (signal,)
    return all(_is_within(now.get(name, 0.0), _of(habit, name)) for name in names)


def _of(habit: Habit, name: str) -> list[float]:
    return [found.get(name, 0.0) for found in habit.values()]


def _is_within(distance: float, habit: Sequence[float]) -> bool:
    """Within three standard deviations of the median, robustly, of the square roots: of the index, which is a squared
    distance, as of rates, these are about normal. And hardly more than it ever was: rates and indices have a greatest
    value, and what swings wildly could otherwise be anything.

    Source: F. Hampel, "The influence curve and its role in robust estimation" (1974): 1.4826 times the median
    absolute deviation estimates a normal distribution's standard deviation. Half of the days must show a lasting
    shift before it is called usual.
    """
    if len(habit) < LEAST_HABIT:
        return False
    roots = np.sqrt(np.asarray(habit, np.float64))
    middle = float(np.median(roots))
    spread = 1.4826 * float(np.median(np.abs(roots - middle)))
    usual = middle + max(3 * spread, HABIT_SLACK * middle)
    return math.sqrt(distance) <= min(
        usual, (1 + HABIT_SLACK) * float(roots.max()), _greatest(roots)
    )


def _greatest(roots: npt.NDArray[np.float64]) -> float:
    """Below 1, which a rate has when everything is null, say: that is usual only if it has been so before."""
    most = float(roots.max())
    return math.inf if most >= WHOLE or most > 1 else WHOLE


def _dated(
    finding: FindingRecord, then: FindingRecord | None, partition: str | None
) -> FindingRecord:
    """With its first day: a finding goes on while the day before had one of a warning or worse.

    One that the season has explained so far, and explains no more, is new.
    """
    before = None if then is None else then.severity if finding.is_seasonal else counted(then)
    is_ongoing = before is not None and ORDER.index(before) >= ORDER.index("warning")
    since = then.since if then is not None and is_ongoing else partition
    was = counted(then) if then is not None else None
    return finding.model_copy(
        update={"status": "ongoing" if is_ongoing else "new", "since": since, "was": was}
    )


def counted(finding: FindingRecord) -> Severity:
    """The severity for the verdict: what the season explains is information."""
    return "info" if finding.is_seasonal else finding.severity


def show_drivers(finding: FindingRecord) -> list[str]:
    """The segments that drive a finding, a few words each."""
    return [f"{driver.segment} ({driver.kind}, {driver.share:.0%})" for driver in finding.drivers]


def show_references(drift: DriftRecord) -> str:
    """What a run was compared with, by name and day."""
    shown = [_with_days(name, drift.days.get(name, ())) for name in drift.references]
    return ", ".join(shown) or "nothing yet"


def _with_days(reference: str, days: Sequence[str]) -> str:
    return f"{reference} ({', '.join(days)})" if days else reference


def show_made_at(drift: DriftRecord) -> str:
    """A sentence about a comparison that is not the run's own; empty: it is."""
    if drift.made_at is None:
        return ""
    return (
        f"Compared again at {drift.made_at:%Y-%m-%d %H:%M:%S} UTC, after the partitions around it had changed. "
        "Gates and alerts are those of the run."
    )


def show_rates(drift: DriftRecord) -> str:
    """What the scores let expect, beside the baseline's; empty where that was made without labels."""
    expected, then = drift.expected_rate, drift.baseline_rate
    if expected is None or then is None:
        return ""
    pattern = "{:.2%}" if 0 <= then <= 1 and 0 <= expected <= 1 else "{:.4g}"
    return (
        f"{pattern.format(expected)} expected by the scores, {pattern.format(then)} in the baseline"
    )


def no_longer(drift: DriftRecord) -> list[str]:
    """Columns that were found before and are as they should be; not those that only the season explains now."""
    seasonal = {finding.column for finding in drift.findings if finding.is_seasonal}
    return [name for name in drift.resolved if name not in seasonal]


def worse(findings: Sequence[FindingRecord], severity: Severity) -> list[FindingRecord]:
    """The findings of this severity or worse."""
    return [
        finding for finding in findings if ORDER.index(counted(finding)) >= ORDER.index(severity)
    ]


def verdict_text(drift: DriftRecord) -> str:
    """A few words for the state of a run."""
    if not drift.references:
        return "nothing to compare with yet"
    moved = worse(drift.findings, "warning")
    names = ", ".join(f.column for f in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    return f"{drift.verdict}{f': {names}{more}' if moved else ''}"
