"""Grades what differs: effect sizes decide how severe, significance only whether it is an accident."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nightscore.drift import statistics
from nightscore.drift.measure import Pair, measure_pairs, rate_p_values
from nightscore.profiles.profile import CategoryProfile, NumberProfile, Profile
from nightscore.schemas.drift import ORDER, ColumnDrift, ColumnType, Severity, Signal

SIGNIFICANT_Q = 0.01
FEW_ROWS = 200
FEW_ROWS_P = 1e-6
"""With fewer rows than that, only a difference as unlikely as this is more than insufficient data."""
MANY_ROWS = 1_000
KNOWN_CATEGORIES = 1_000
"""With more distinct ones in the reference, unseen ones are nothing special."""

FEW_DISTINCT = 0.2
"""Distinct values as a share of those then."""

Grade = tuple[Signal, Severity, str]
"""What it is about, how severe it is, and the words."""
Bound = tuple[str, float, float]
"""Statistic, and what is a warning and what critical."""
NUMBER_BOUNDS: tuple[Bound, ...] = (("psi_adjusted", 0.1, 0.25), ("ks", 0.1, 0.2))
CATEGORY_BOUNDS: tuple[Bound, ...] = (("psi_adjusted", 0.1, 0.25), ("linf", 0.1, 0.2))


def compare_columns(pairs: Mapping[str, Pair]) -> list[ColumnDrift]:
    """Each column's statistics and severity; significance is corrected across all of them.

    Args:
        pairs: Column to the reference's profile and the current one, over the same bins.
    """
    return compare_groups([pairs])[0]


def compare_groups(groups: Sequence[Mapping[str, Pair]]) -> list[list[ColumnDrift]]:
    """The same of several sets of columns: significance is corrected within each, all else is computed at once."""
    pairs = {
        (place, name): pair for place, group in enumerate(groups) for name, pair in group.items()
    }
    found = measure_pairs(pairs)
    rates = dict(zip(pairs, rate_p_values(list(pairs.values())), strict=True))
    compared = []
    for place, group in enumerate(groups):
        values = {name: found[place, name] for name in group}
        p_values = np.array([one["chi2_pvalue"] for one in values.values()], np.float64)
        for one, q in zip(
            values.values(), statistics.benjamini_hochberg(p_values).tolist(), strict=True
        ):
            one["chi2_qvalue"] = q
        compared.append(
            [
                _column(name, then, now, values[name], rates[place, name])
                for name, (then, now) in group.items()
            ]
        )
    return compared


def pair_up(then: Profile, now: Profile) -> Pair:
    """Two profiles that can be compared.

    Raises:
        ValueError: They cannot: of different kinds or bins, or of an identifier.
    """
    if isinstance(then, NumberProfile) and isinstance(now, NumberProfile):
        if not then.edges.equals(now.edges):
            raise ValueError("profiled over other bins than the reference")
        return then, now
    if isinstance(then, NumberProfile) or isinstance(now, NumberProfile):
        raise ValueError("numbers on one side, categories on the other")
    if then.is_cut or now.is_cut:
        raise ValueError("has so many distinct values that it is an identifier")
    return then, now


def worst(severities: Sequence[Severity]) -> Severity:
    """The most severe; `ok` of none."""
    return max(severities, key=ORDER.index, default="ok")


def _column(
    name: str, reference: Any, current: Any, values: dict[str, float], rate_p: tuple[float, float]
) -> ColumnDrift:
    is_few = min(reference.n_rows, current.n_rows) < FEW_ROWS
    grades = list(_grade(reference, current, values, rate_p))
    if is_few and not values["chi2_pvalue"] < FEW_ROWS_P:  # of few rows only what is beyond doubt
        grades = [grade for grade in grades if grade[0] in ("nulls", "not finite", "range")]
    severity = worst([grade for _, grade, _ in grades])
    reasons = [reason for _, grade, reason in grades if grade == severity]
    if is_few and not grades:
        found = f"{reference.n_rows:,} rows then, {current.n_rows:,} now"
        severity, reasons = "insufficient data", [f"{found}, too few to tell"]
    kind: ColumnType = "number" if isinstance(reference, NumberProfile) else "category"
    then, now = _null_rate(reference), _null_rate(current)
    return ColumnDrift(
        name=name,
        type=kind,
        n_reference=reference.n_rows,
        n_current=current.n_rows,
        null_rate_difference=_defined(now - then),
        statistics={key: _defined(value) for key, value in values.items()},
        severity=severity,
        reasons=tuple(reasons),
        signals={
            signal: worst([g for s, g, _ in grades if s == signal]) for signal, _, _ in grades
        },
    )


def _grade(
    reference: Any, current: Any, values: dict[str, float], rate_p: tuple[float, float]
) -> Iterator[Grade]:
    """Each signal that is no accident, with its severity and words."""
    yield from _grade_nulls(reference, current, rate_p)
    yield from _grade_distribution(reference, current, values)
    yield from _grade_distinct(reference, current, values)
    if isinstance(reference, NumberProfile):
        yield from _grade_range(reference, current, values)
    elif len(reference.counts) <= KNOWN_CATEGORIES:
        rate = values["unseen_category_rate"]
        excess = rate - _usual_unseen_rate(reference, current)
        if excess > 0.01:
            grade: Severity = "critical" if excess > 0.10 else "warning"
            yield (
                "unseen",
                grade,
                f"{rate:.1%} of the values are categories that the reference does not have",
            )


def _usual_unseen_rate(reference: CategoryProfile, current: CategoryProfile) -> float:
    """Share of unseen values that another sample of the reference's own distribution would hardly exceed.

    Source: I. J. Good, "The population frequencies of species" (1953): the share of values that stand once estimates
    the share of those that were not seen; and three standard errors.
    """
    n, m = reference.counts.total(), current.counts.total()
    if not n or not m:
        return math.nan
    expected = sum(count == 1 for count in reference.counts.values()) / n
    return expected + 3 * math.sqrt(max(expected, 1 / n) * (1 / n + 1 / m))


def _grade_distribution(reference: Any, current: Any, values: dict[str, float]) -> Iterator[Grade]:
    if not _is_no_accident(reference, current, values):
        return
    grades: list[Grade] = []
    for statistic, warning, critical in (
        NUMBER_BOUNDS if isinstance(reference, NumberProfile) else CATEGORY_BOUNDS
    ):
        value = values[statistic]
        if value >= critical:
            grades.append(
                ("distribution", "critical", f"{statistic} {value:.3f}, critical from {critical:g}")
            )
        elif value >= warning:
            grades.append(
                ("distribution", "warning", f"{statistic} {value:.3f}, a warning from {warning:g}")
            )
    small = f"a small difference that is no accident (q = {values['chi2_qvalue']:.1e})"
    yield from grades or [("distribution", "info", small)]


def _is_no_accident(reference: Any, current: Any, values: dict[str, float]) -> bool:
    """Significant after the correction; with few rows, where effect sizes are noisy, beyond doubt."""
    is_small = min(_sizes(reference, current)) < MANY_ROWS
    return values["chi2_qvalue"] < SIGNIFICANT_Q and (
        not is_small or values["chi2_pvalue"] < FEW_ROWS_P
    )


def _grade_nulls(reference: Any, current: Any, rate_p: tuple[float, float]) -> Iterator[Grade]:
    nulls = (reference.n_null, current.n_null)
    yield from _grade_rate("nulls", "nulls", reference, current, nulls, rate_p[0])
    if not isinstance(reference, NumberProfile):
        return
    if reference.n_finite and not current.n_finite and current.n_odd:
        counts = (reference.n_rows - reference.n_finite, current.n_rows)
        if _rate_p(reference, current, counts) < FEW_ROWS_P:
            yield "not finite", "critical", "no value is finite"
            return
    odd = (reference.n_odd, current.n_odd)
    yield from _grade_rate("not finite", "NaN or infinite", reference, current, odd, rate_p[1])


def _grade_rate(
    signal: Signal, words: str, reference: Any, current: Any, counts: tuple[int, int], p: float
) -> Iterator[Grade]:
    """How often something is in a column that ought not to be there."""
    if not reference.n_rows or not current.n_rows or not p < FEW_ROWS_P:
        return
    then, now = counts[0] / reference.n_rows, counts[1] / current.n_rows
    change = abs(now - then)
    if now == 1.0 and signal == "nulls":
        yield signal, "critical", "all values are null"
    elif change > 0.05:
        yield (
            signal,
            ("critical" if change > 0.10 else "warning"),
            f"{words}: {then:.1%} then, {now:.1%} now",
        )


def _rate_p(reference: Any, current: Any, counts: tuple[int, int]) -> float:
    pairs = zip((reference, current), counts, strict=True)
    table = np.array([[count, profile.n_rows - count] for profile, count in pairs], np.int64)
    return float(statistics.chi2(table[0], table[1])[1])


def _grade_distinct(reference: Any, current: Any, values: dict[str, float]) -> Iterator[Grade]:
    if min(_sizes(reference, current)) < MANY_ROWS:
        return
    is_number = isinstance(reference, NumberProfile)
    if is_number and _is_constant(current) and not _is_constant(reference):
        if _constant_p(reference, current) < FEW_ROWS_P:
            yield "distinct", "critical", f"became constant: {current.least:g}"
    elif values["distinct_ratio"] < FEW_DISTINCT:
        now, expected = current.n_distinct, current.n_distinct / max(values["distinct_ratio"], 1e-9)
        yield (
            "distinct",
            "warning",
            f"{now:,.0f} distinct values, {expected:,.0f} of so many rows then",
        )


def _constant_p(reference: NumberProfile, current: NumberProfile) -> float:
    """The probability that all rows are in one of the reference's bins by accident."""
    place = int(np.searchsorted(reference.edges.both, current.least, side="left"))
    return float((reference.counts[place] / max(reference.n_finite, 1)) ** current.n_finite)


def _grade_range(
    reference: NumberProfile, current: NumberProfile, values: dict[str, float]
) -> Iterator[Grade]:
    rate, shift = values["out_of_range_rate"], values["wasserstein_over_std"]
    if math.isnan(rate):
        return
    if not _exceedance_p(reference.n_finite, current.n_finite, current.n_outside) < FEW_ROWS_P:
        return  # the range of a sample is not that of its distribution
    if rate > 0.05:
        yield (
            "range",
            "critical",
            f"{rate:.1%} of the values are outside {reference.least:g} to {reference.greatest:g}",
        )
    elif rate > 0.002 and shift > 1:
        yield (
            "range",
            "warning",
            f"{rate:.1%} of the values are outside {reference.least:g} to {reference.greatest:g}",
        )


def _exceedance_p(n: int, m: int, n_outside: int) -> float:
    """Probability that so many of m values are outside the range of n of the same distribution, about.

    Source: E. J. Gumbel, H. von Schelling, "The distribution of the number of exceedances" (1950): each further one
    has the probability m / (n + m), at either end.
    """
    return (n_outside + 1) * (m / (n + m)) ** n_outside if n and m else math.nan


def _sizes(reference: Any, current: Any) -> tuple[int, int]:
    return reference.n_rows, current.n_rows


def _is_constant(profile: NumberProfile) -> bool:
    return profile.n_finite > 0 and profile.least == profile.greatest


def _null_rate(profile: Any) -> float:
    return profile.n_null / profile.n_rows if profile.n_rows else math.nan


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
