"""Counts of differences, summed up for a manifest and for people."""

import math
from collections.abc import Sequence

import numpy as np

from nightscore.monitoring.differences.differing_groups import group_records
from nightscore.monitoring.differences.rank_correlation import rank_correlation
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.differences.delta_codes import RELATIVE_ERROR, middles
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.profiles.differences.exact_sums import to_fraction
from nightscore.profiles.differences.extreme_rows import N_TOP
from nightscore.profiles.differences.group_counts import GroupCounts
from nightscore.schemas.difference import (
    ClassChangeRecord,
    ClassesRecord,
    DeltaRecord,
    DifferenceRecord,
    FlipsRecord,
    KeyRecord,
    QuantileRecord,
    RankRecord,
    RefusedRecord,
    TopRecord,
)

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOP_SIZES = (10, 100, N_TOP)
"""How many of the highest scores are compared. Only up to half of the rows: more overlap anyway."""
MOST_CHANGES = 100
NO_RANKS = (
    "There are no bins of the score from a baseline that all rows share, so ranks are not counted."
)
NO_ORDER = "All scores of a model are in one bin, so there is no order."


def summarise_difference(counts: DifferenceCounts) -> DifferenceRecord:
    """The record of what was counted."""
    groups = [one for one in counts.groups.values() if one is not None]
    where, worst = group_records(groups, has_threshold=counts.threshold is not None)
    has_scores = counts.n_compared > 0

    refused = RefusedRecord(
        by_champion_alone=counts.n_refused_by_champion,
        by_challenger_alone=counts.n_refused_by_challenger,
        by_both=counts.n_refused_by_both,
    )

    return DifferenceRecord(
        score=counts.score,
        n=counts.n_rows,
        n_not_compared=counts.n_not_compared,
        delta=_delta(counts) if has_scores else None,
        flips=_flips(counts),
        classes=_classes(counts),
        ranks=_ranks(counts) if has_scores else None,
        n_sampled=_n_sampled(counts, groups),
        top=_top(counts),
        where=where,
        groups=worst,
        keys=_keys(counts),
        refused=refused,
        champion_cpu_s=counts.champion_cpu_us / 1e6 if counts.champion_cpu_us else None,
        challenger_cpu_s=counts.challenger_cpu_us / 1e6 if counts.challenger_cpu_us else None,
    )


def _n_sampled(counts: DifferenceCounts, groups: Sequence[GroupCounts]) -> int | None:
    """Rows that were looked at. Older counts without joint counts know it by their groups only."""
    of_groups = (sum(one.sampled) for one in groups)
    return max(counts.n_sampled, *of_groups, 0) or None


def ordered_deltas(counts: DifferenceCounts) -> tuple[Floats, Counts]:
    """The middles of the bins of differences that have rows, ascending, and their rows."""
    codes = np.flatnonzero(counts.deltas)
    values = middles(codes)
    order = np.argsort(values, kind="stable")
    return values[order], counts.deltas[codes][order]


def _delta(counts: DifferenceCounts) -> DeltaRecord:
    """What the differences are.

    The k-th smallest of n differences is the quantile of k/n: the inverse of the empirical
    distribution function (R. Hyndman, Y. Fan, 1996, definition 1), to the middle of its bin.
    """
    values, rows = ordered_deltas(counts)
    n = counts.n_compared
    mean = float(to_fraction(counts.total) / n)

    # About the exact mean: the middles' own mean is up to 0.4 % of the mean size beside it.
    squares = float(np.sum(rows * (values - mean) ** 2))
    ends = np.cumsum(rows)

    quantiles = []
    for p in QUANTILES:
        place = int(np.searchsorted(ends, max(math.ceil(p * n), 1)))
        value = min(max(float(values[place]), counts.least), counts.greatest)
        quantiles.append(QuantileRecord(p=p, value=value))

    return DeltaRecord(
        mean=mean,
        spread=math.sqrt(squares / (n - 1)) if n > 1 else None,
        mean_absolute=float(np.sum(rows * np.abs(values))) / n,
        least=counts.least,
        greatest=counts.greatest,
        quantiles=tuple(quantiles),
        n_equal=int(rows[values == 0].sum()),
        n_higher=int(rows[values > 0].sum()),
        n_lower=int(rows[values < 0].sum()),
        relative_error=RELATIVE_ERROR,
    )


def _flips(counts: DifferenceCounts) -> FlipsRecord | None:
    if counts.threshold is None:
        return None
    (n00, n01), (n10, n11) = counts.decisions.tolist()
    return FlipsRecord(threshold=counts.threshold, n00=n00, n01=n01, n10=n10, n11=n11)


def _classes(counts: DifferenceCounts) -> ClassesRecord | None:
    if not counts.classes:
        return None

    names = (*counts.classes, "")
    changed = counts.confusion.copy()
    np.fill_diagonal(changed, 0)

    changes = []
    for one, other in np.argwhere(changed).tolist():
        n = int(changed[one, other])
        changes.append(ClassChangeRecord(champion=names[one], challenger=names[other], n=n))
    changes.sort(key=lambda change: -change.n)

    n_changed = int(changed.sum())
    return ClassesRecord(
        n_same=int(counts.confusion.sum()) - n_changed,
        n_changed=n_changed,
        changes=tuple(changes[:MOST_CHANGES]),
    )


def _ranks(counts: DifferenceCounts) -> RankRecord:
    if counts.joint is None:
        return RankRecord(note=NO_RANKS)

    is_sample = counts.n_sampled < counts.n_compared
    n_sampled = counts.n_sampled if is_sample else 0
    found = rank_correlation(counts.joint.rows, n_sampled=n_sampled)
    if found is None:
        return RankRecord(note=NO_ORDER)
    return RankRecord(spearman=found.value, low=found.low, high=found.high, n=counts.n_sampled)


def _top(counts: DifferenceCounts) -> tuple[TopRecord, ...]:
    """How many rows are among the k highest scores of both.

    Of models of several classes the score is that of the champion's class. So the lists have the
    rows whose class is surest, and a challenger that is sure of another class does not have them.

    Source: R. Fagin, R. Kumar, D. Sivakumar, "Comparing top k lists" (SIAM Journal on Discrete
    Mathematics, 2003), whose intersection metric takes the mean of these shares over k.
    """
    records = []
    for k in TOP_SIZES:
        if 2 * k <= counts.n_compared:
            n_common = counts.champion_top.n_common(counts.challenger_top, k)
            records.append(TopRecord(k=k, n_common=n_common))
    return tuple(records)


def _keys(counts: DifferenceCounts) -> tuple[KeyRecord, ...]:
    records = []
    for row in counts.most:
        key = dict(zip(counts.keys, row.keys, strict=True))
        records.append(KeyRecord(key=key, champion=row.champion, challenger=row.challenger))
    return tuple(records)
