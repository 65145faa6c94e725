"""Grades the difference of a column: effect sizes decide how severe it is.

Significance only says whether it may be an accident.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.measure import Values, measure_across, measure_pairs
from nightscore.monitoring.drift.statistics.shared.columns import ColumnPair
from nightscore.monitoring.drift.statistics.shared.significance import (
    FEW_ROWS,
    FEW_ROWS_P,
    is_significant,
)
from nightscore.monitoring.drift.statistics.shared.statistic import Evidence, Grade, Statistic
from nightscore.schemas.drift import ORDER, ColumnDrift, Severity, Signal

SIGNALS: tuple[Signal, ...] = (
    "nulls",
    "not finite",
    "distribution",
    "distinct",
    "range",
    "unseen",
)
"""In the order in which reasons are given: what is missing explains much of the rest."""
SEEN_IN_FEW_ROWS: tuple[Signal, ...] = ("nulls", "not finite", "range")
"""Their tests hold for few rows as well."""


NamedPairs = Sequence[tuple[str, ColumnPair]]
"""Columns that are compared together. Names may occur several times."""


def compare_columns(pairs: Mapping[str, ColumnPair]) -> list[ColumnDrift]:
    """Each column's statistics and severity; significance is corrected across all of them."""
    return compare_groups([list(pairs.items())])[0]


def compare_groups(groups: Sequence[NamedPairs]) -> list[list[ColumnDrift]]:
    """The same for several sets of columns, measured at once.

    Significance is corrected within each set.
    """
    pairs: dict[tuple[int, int], ColumnPair] = {}
    for group_place, group in enumerate(groups):
        for place, (_, pair) in enumerate(group):
            pairs[group_place, place] = pair

    measured = measure_pairs(pairs)

    compared = []
    for group_place, group in enumerate(groups):
        values = [measured[group_place, place] for place in range(len(group))]
        measure_across(values)

        graded = zip(group, values, strict=True)
        compared.append([grade_column(name, pair, one) for (name, pair), one in graded])

    return compared


def grade_column(name: str, pair: ColumnPair, values: Values) -> ColumnDrift:
    """The severity of a column, its reasons and its statistics."""
    defined = statistic_catalog.statistics_for(pair.type)
    grades = _grade(Evidence(pair, values), defined)

    is_few = min(pair.n_rows) < FEW_ROWS
    if is_few and not values["chi2_pvalue"] < FEW_ROWS_P:
        grades = [grade for grade in grades if grade.signal in SEEN_IN_FEW_ROWS]

    severity = worst([grade.severity for grade in grades])
    reasons = [grade.reason for grade in grades if grade.severity == severity]
    n_reference, n_current = pair.n_rows

    if is_few and not grades:
        severity = "insufficient data"
        reasons = [f"too few rows to tell: {n_reference:,} in the reference, {n_current:,} now"]

    statistics = {}
    for statistic in defined:
        statistics[statistic.name] = _defined(values[statistic.name])

    return ColumnDrift(
        name=name,
        type=pair.type,
        n_reference=n_reference,
        n_current=n_current,
        null_rate_difference=statistics["null_rate_difference"],
        statistics=statistics,
        severity=severity,
        reasons=tuple(reasons),
        signals=_signals(grades),
    )


def worst(severities: Sequence[Severity]) -> Severity:
    """The most severe; `ok` without any."""
    return max(severities, key=ORDER.index, default="ok")


def _grade(evidence: Evidence, defined: Sequence[Statistic]) -> list[Grade]:
    """All that is no accident, in the order of `SIGNALS`."""
    grades = list(_grade_distribution(evidence, defined))
    for statistic in defined:
        if statistic.grade is not None:
            grades += statistic.grade(evidence)
    return sorted(grades, key=lambda grade: SIGNALS.index(grade.signal))


def _grade_distribution(evidence: Evidence, defined: Sequence[Statistic]) -> Iterator[Grade]:
    """What the thresholds of the statistics say of the distribution."""
    if not is_significant(evidence):
        return

    column_type = evidence.pair.type
    is_severe = False
    for statistic in defined:
        if column_type not in statistic.graded_types:
            continue

        grade = statistic.grade_value(evidence.values[statistic.name])
        if grade is not None:
            is_severe = True
            yield grade

    if not is_severe:
        q_value = statistic_catalog.Q_VALUE
        rate = q_value.show(evidence.values[q_value.name])
        words = f"a small difference that is no accident ({q_value.title} {rate})"
        yield Grade("distribution", "info", words)


def _signals(grades: Sequence[Grade]) -> dict[Signal, Severity]:
    signals: dict[Signal, Severity] = {}
    for grade in grades:
        severities = [signals.get(grade.signal, "ok"), grade.severity]
        signals[grade.signal] = worst(severities)
    return signals


def _defined(value: float) -> float | None:
    if math.isfinite(value):
        return value
    return None
