"""What is asked of the engine, beside what was found."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.bench.engine.measure import (
    BOUND,
    ONE_PARTITION,
    ONE_SMALL,
    ONE_WORKER,
    ONE_WORKER_OTHER_SIZE,
    OTHER_SIZE,
    OURS,
)

LEAST_SHARE_OF_BOUND = 0.85
BOUND_ROWS = 10_000_000
"""From so many rows on: with fewer, starting is a good part of it."""
LEAST_SCALING = 0.95
MOST_GROWTH = 1.1
"""Of peak memory at ten times the rows. The same is meant; peaks of single runs differ by some
percent."""
MOST_START_S = 2.0
MOST_PARTITIONED = 1.3
MOST_OF_BEST_PEER = {"W1": 0.2, "W2": 0.5, "W3": 0.2, "W5": 0.5}
"""Of its wall time, by how a workload's name begins."""


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
    sections = (_of_peers, _of_bound, _of_scaling, _of_memory, _of_partitions)
    return [bar for of_kind in sections for bar in of_kind(workload)]


def _least(
    workload: dict[str, Any], what: str, asked: float, measured: float, shown: str = "{:.0%}"
) -> Bar:
    return Bar(
        workload["id"],
        what,
        f"at least {shown.format(asked)}",
        shown.format(measured),
        measured >= asked,
        measured / asked - 1,
    )


def _most(workload: dict[str, Any], what: str, asked: float, measured: float, shown: str) -> Bar:
    return Bar(
        workload["id"],
        what,
        f"at most {shown.format(asked)}",
        shown.format(measured),
        measured <= asked,
        1 - measured / asked,
    )


def _two_sizes(
    workload: dict[str, Any], main: str, other: str
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The same with fewer and with more rows."""
    if other not in workload["ways"]:
        return None
    few, many = sorted(
        (workload["ways"][main], workload["ways"][other]), key=lambda way: float(way["rows"])
    )
    return few, many


def _steady_rows_per_s(few: dict[str, Any], many: dict[str, Any]) -> float:
    """Without what is the same at both sizes: start and end.

    NaN where noise is greater than the difference.
    """
    seconds = many["wall_s"] - few["wall_s"]
    return float((many["rows"] - few["rows"]) / seconds) if seconds > 0 else float("nan")


def _of_peers(workload: dict[str, Any]) -> Iterator[Bar]:
    """Each peer is compared with what was measured beside it; earlier ones only where there are no others."""
    every = {
        name: way
        for name, way in workload["ways"].items()
        if way["kind"] == "peer" and "wall_s" in way and not way["error"]
    }
    if not every:
        return
    peers = {
        name: way for name, way in every.items() if way["measured_at"] == workload["measured_at"]
    } or every

    def ratio(name: str, of: str) -> float:
        return float(peers[name]["beside"][of] / peers[name][of])

    best = max(peers, key=lambda name: ratio(name, "wall_s"))
    share = ratio(best, "wall_s")
    what = f"wall time as a multiple of the fastest peer's ({best}; 1/{1 / share:.1f})"
    asked = next(
        (most for name, most in MOST_OF_BEST_PEER.items() if workload["name"].startswith(name)),
        None,
    )
    if asked is None:
        yield Bar(workload["id"], what, "", f"{share:.2f}", None, 0.0)
    else:
        yield _most(workload, what, asked, share, "{:.2f}")
    least = max(peers, key=lambda name: ratio(name, "peak_bytes"))
    what = f"peak memory as a multiple of the least peer's ({least})"
    yield _most(workload, what, 1.0, ratio(least, "peak_bytes"), "{:.2f}")


def _of_bound(workload: dict[str, Any]) -> Iterator[Bar]:
    bound = workload[BOUND]["rows_per_s"]
    for name in (OURS, OTHER_SIZE):
        if way := workload["ways"].get(name):
            what = f"share of the bound of {bound:,.0f} rows/s at {way['rows']:,} rows, start-up included"
            yield _share(workload, what, way["rows"] / way["wall_s"] / bound, way["rows"])
            if workload["partitions"] == 1:
                what = f"the same, of the scoring stage alone, {way['scoring_rows_per_s']:,.0f} rows/s by the manifest"
                yield Bar(
                    workload["id"], what, "", f"{way['scoring_rows_per_s'] / bound:.0%}", None, 0.0
                )
    if sizes := _two_sizes(workload, OURS, OTHER_SIZE):
        few, many = sizes
        rate = _steady_rows_per_s(few, many)
        what = f"the same without start-up: from {few['rows']:,} to {many['rows']:,} rows, {rate:,.0f} rows/s"
        yield _share(workload, what, rate / bound, many["rows"])


def _share(workload: dict[str, Any], what: str, share: float, n_rows: int) -> Bar:
    if n_rows >= BOUND_ROWS:
        return _least(workload, what, LEAST_SHARE_OF_BOUND, share)
    return Bar(workload["id"], what, "", f"{share:.0%}", None, 0.0)


def _of_scaling(workload: dict[str, Any]) -> Iterator[Bar]:
    several = _two_sizes(workload, OURS, OTHER_SIZE)
    one = _two_sizes(workload, ONE_WORKER, ONE_WORKER_OTHER_SIZE)
    if several is None or one is None:
        return
    kernel = workload[BOUND]["kernel_scaling"]
    steady = _steady_rows_per_s(*several) / _steady_rows_per_s(*one)
    whole = one[1]["wall_s"] / several[1]["wall_s"]
    cores = workload["machine"]["cores"]
    what = f"gain from 1 to {cores} workers against the bare predictor's of {kernel:.2f} times"
    yield _least(
        workload, f"{what}, without start-up ({steady:.2f} times)", LEAST_SCALING, steady / kernel
    )
    rows = f"{one[1]['rows']:,} rows"
    share = f"{whole / kernel:.0%}"
    yield Bar(
        workload["id"],
        f"{what}, start-up included, {rows} ({whole:.2f} times)",
        "",
        share,
        None,
        0.0,
    )


def _of_memory(workload: dict[str, Any]) -> Iterator[Bar]:
    if sizes := _two_sizes(workload, OURS, OTHER_SIZE):
        few, many = sizes
        what = f"peak memory of {many['rows']:,} rows as a multiple of that of {few['rows']:,}"
        yield _most(workload, what, MOST_GROWTH, many["peak_bytes"] / few["peak_bytes"], "{:.2f}")


def _of_partitions(workload: dict[str, Any]) -> Iterator[Bar]:
    ways = workload["ways"]
    if small := ways.get(ONE_SMALL):
        what = f"CPU s of one small run, {small['rows']:,} rows, from its start to its end"
        yield _most(workload, what, MOST_START_S, small["cpu_s"], "{:.1f}")
    if whole := ways.get(ONE_PARTITION):
        what = f"wall time of {workload['partitions']} partitions as a multiple of the same rows in one"
        yield _most(
            workload, what, MOST_PARTITIONED, ways[OURS]["wall_s"] / whole["wall_s"], "{:.2f}"
        )
