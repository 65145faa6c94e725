"""What is asked of the engine, beside what was found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.bench.engine.measure import BOUND, ONE_PARTITION, ONE_SMALL, OURS, TENFOLD, TENFOLD_ONE

LEAST_SHARE_OF_BOUND = 0.85
BOUND_ROWS = 10_000_000
"""From so many rows on: with fewer, starting is a good part of it."""
LEAST_SCALING = 0.95
MOST_GROWTH = 1.1
"""Of peak memory at ten times the rows. The same is meant; peaks of single runs differ by some percent."""
MOST_START_S = 2.0
MOST_PARTITIONED = 1.3


@dataclass(frozen=True)
class Bar:
    """One thing that is asked."""

    workload: str
    what: str
    asked: str
    found: str
    is_met: bool | None
    """None: said for what it is worth, nothing is asked."""
    by: float
    """By how much, relative to what is asked; negative: missed."""

    @property
    def verdict(self) -> str:
        if self.is_met is None:
            return ""
        return f"{'met' if self.is_met else 'MISSED'} by {abs(self.by):.0%}"


def bars_of(workload: dict[str, Any]) -> list[Bar]:
    """All that can be told of one workload's result."""
    if OURS not in workload["ways"]:
        return []
    return [*_of_bound(workload), *_of_scaling(workload), *_of_memory(workload), *_of_partitions(workload)]


def _least(workload: dict[str, Any], what: str, asked: float, found: float, shown: str = "{:.0%}") -> Bar:
    return Bar(
        workload["id"],
        what,
        f"at least {shown.format(asked)}",
        shown.format(found),
        found >= asked,
        found / asked - 1,
    )


def _most(workload: dict[str, Any], what: str, asked: float, found: float, shown: str) -> Bar:
    return Bar(
        workload["id"], what, f"at most {shown.format(asked)}", shown.format(found), found <= asked, 1 - found / asked
    )


def _of_bound(workload: dict[str, Any]) -> Iterator[Bar]:
    bound = workload[BOUND]["rows_per_s"]
    ways = [way for name in (OURS, TENFOLD) if (way := workload["ways"].get(name))]
    for way in ways:
        kinds = {"start-up included": way["rows"] / way["wall_s"] / bound}
        if workload["partitions"] == 1:
            kinds["scoring alone"] = way["scoring_rows_per_s"] / bound
        for kind, share in kinds.items():
            what = f"share of the bound of {bound:,.0f} rows/s at {way['rows']:,} rows, {kind}"
            if way["rows"] >= BOUND_ROWS:
                yield _least(workload, what, LEAST_SHARE_OF_BOUND, share)
            else:
                yield Bar(workload["id"], what, "", f"{share:.0%}", None, 0.0)
    if len(ways) == 2:
        few, many = sorted(ways, key=lambda way: float(way["rows"]))
        seconds = many["wall_s"] - few["wall_s"]
        share = (many["rows"] - few["rows"]) / seconds / bound if seconds > 0 else float("nan")
        what = f"share of the bound of the {many['rows'] - few['rows']:,} rows that the greater run has more"
        yield Bar(workload["id"], what, "", f"{share:.0%}", None, 0.0)


def _of_scaling(workload: dict[str, Any]) -> Iterator[Bar]:
    one = workload["ways"].get(TENFOLD_ONE)
    if one is None:
        return
    all_of_them = max((workload["ways"][name] for name in (OURS, TENFOLD)), key=lambda way: float(way["rows"]))
    kernel = workload[BOUND]["kernel_scaling"]
    wall = one["wall_s"] / all_of_them["wall_s"] / kernel
    scoring = all_of_them["scoring_rows_per_s"] / one["scoring_rows_per_s"] / kernel
    against = f"from 1 to {all_of_them['workers']} workers against the bare predictor's {kernel:.2f} times"
    yield _least(workload, f"gain {against}, scoring alone, {one['rows']:,} rows", LEAST_SCALING, scoring)
    yield Bar(workload["id"], f"gain {against}, start-up included", "", f"{wall:.0%}", None, 0.0)


def _of_memory(workload: dict[str, Any]) -> Iterator[Bar]:
    other = workload["ways"].get(TENFOLD)
    if other is None:
        return
    few, many = sorted((workload["ways"][OURS], other), key=lambda way: float(way["rows"]))
    what = f"peak memory of {many['rows']:,} rows as a multiple of that of {few['rows']:,}"
    yield _most(workload, what, MOST_GROWTH, many["peak_bytes"] / few["peak_bytes"], "{:.2f}")


def _of_partitions(workload: dict[str, Any]) -> Iterator[Bar]:
    ways = workload["ways"]
    if small := ways.get(ONE_SMALL):
        what = f"CPU s of one small run, {small['rows']:,} rows, from its start to its end"
        yield _most(workload, what, MOST_START_S, small["cpu_s"], "{:.1f}")
    if whole := ways.get(ONE_PARTITION):
        what = f"wall time of {workload['partitions']} partitions as a multiple of the same rows in one"
        yield _most(workload, what, MOST_PARTITIONED, ways[OURS]["wall_s"] / whole["wall_s"], "{:.2f}")
