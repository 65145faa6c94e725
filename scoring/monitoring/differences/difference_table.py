"""A run's difference as one long table, with a row for each figure.

The tables of many runs give the series of a figure, of a segment or of a feature's bin.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from nightscore.arrow.long_table import to_parquet
from nightscore.monitoring.differences.differing_groups import all_groups
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.schemas.difference import (
    ClassesRecord,
    DeltaRecord,
    DifferenceRecord,
    FlipsRecord,
    GroupRecord,
)
from nightscore.schemas.manifest import Manifest

SCHEMA = pa.schema(
    [
        ("partition", pa.string()),
        ("run_id", pa.string()),
        ("challenger", pa.string()),
        ("champion_version", pa.string()),
        ("challenger_version", pa.string()),
        ("metric", pa.string()),
        ("column", pa.string()),
        ("group", pa.string()),
        ("above", pa.float64()),
        ("up_to", pa.float64()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)
"""`column` is empty for all rows. Else it is a segment, or a feature whose rows have the value
`group`, or numbers greater than `above` and not greater than `up_to`; a bound that is null is none.
`low` and `high` are what a rank correlation is at least and at most. `n` is the number of rows that
a value is of; of groups, of those that were looked at."""

Figures = Iterator[tuple[str, float | None, int]]
"""Metric, value, and the rows that it is of."""


def difference_table(
    challenger: str, manifest: Manifest, found: DifferenceRecord, counts: DifferenceCounts
) -> bytes:
    """One run's rows, as a Parquet file with the columns of `SCHEMA`.

    Args:
        challenger: Its label.
        manifest: Of the challenger's run.
        found: What the counts are, summed up.
        counts: With all groups; the record has those that differ most.
    """
    champion = manifest.champion_model
    run = {
        "partition": manifest.partition,
        "run_id": manifest.run_id,
        "challenger": challenger,
        "champion_version": champion.version if champion is not None else "",
        "challenger_version": manifest.model.version,
    }
    rows = [run | row for row in (*_whole(found), *_groups(counts))]
    return to_parquet(pa.Table.from_pylist(rows, SCHEMA))


def _whole(found: DifferenceRecord) -> Iterator[dict[str, Any]]:
    """The figures of all rows."""
    for metric, value, n in _figures(found):
        yield {"metric": metric, "column": "", "group": "", "value": value, "n": n}

    ranks = found.ranks
    if ranks is not None and ranks.spearman is not None:
        row = {"metric": "rank_correlation", "column": "", "group": "", "value": ranks.spearman}
        yield row | {"low": ranks.low, "high": ranks.high, "n": ranks.n}


def _figures(found: DifferenceRecord) -> Figures:
    refused = found.refused
    yield "rows", found.n, found.n
    yield "rows_not_compared", found.n_not_compared, found.n
    yield "rows_refused_by_champion_alone", refused.by_champion_alone, found.n
    yield "rows_refused_by_challenger_alone", refused.by_challenger_alone, found.n
    yield "rows_refused_by_both", refused.by_both, found.n

    n_compared = found.n - found.n_not_compared
    if found.delta is not None:
        yield from _of_delta(found.delta, n_compared)
    if found.flips is not None:
        yield from _of_flips(found.flips, n_compared)
    if found.classes is not None:
        yield from _of_classes(found.classes)

    for top in found.top:
        yield f"in_common_of_top_{top.k}", top.n_common, top.k
    yield "champion_cpu_s", found.champion_cpu_s, found.n
    yield "challenger_cpu_s", found.challenger_cpu_s, found.n


def _of_delta(delta: DeltaRecord, n: int) -> Figures:
    yield "mean", delta.mean, n
    yield "spread", delta.spread, n
    yield "mean_absolute", delta.mean_absolute, n
    yield "least", delta.least, n
    yield "greatest", delta.greatest, n

    for quantile in delta.quantiles:
        yield f"quantile_{quantile.p:g}", quantile.value, n

    yield "rows_equal", delta.n_equal, n
    yield "rows_higher", delta.n_higher, n
    yield "rows_lower", delta.n_lower, n


def _of_flips(flips: FlipsRecord, n: int) -> Figures:
    yield "threshold", flips.threshold, n
    yield "rows_to_positive", flips.n01, n
    yield "rows_to_negative", flips.n10, n


def _of_classes(classes: ClassesRecord) -> Figures:
    yield "rows_of_another_class", classes.n_changed, classes.n_same + classes.n_changed


def _groups(counts: DifferenceCounts) -> Iterator[dict[str, Any]]:
    """The figures of each segment, and of each bin of a feature."""
    for groups in counts.groups.values():
        if groups is None:
            continue

        for group in all_groups(groups, has_threshold=counts.threshold is not None):
            place = {"column": group.column, "group": group.value, "n": group.n}
            bounds = {"above": group.above, "up_to": group.up_to}
            for metric, value in _of_group(group):
                yield place | bounds | {"metric": metric, "value": value}


def _of_group(group: GroupRecord) -> Iterator[tuple[str, float]]:
    yield "share_of_rows", group.share
    yield "mean", group.mean
    yield "mean_absolute", group.mean_absolute

    if group.share_to_positive is not None and group.share_to_negative is not None:
        yield "share_to_positive", group.share_to_positive
        yield "share_to_negative", group.share_to_negative
