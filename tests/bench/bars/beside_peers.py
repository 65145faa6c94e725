"""Bar 1: wall time beside the peers, start-up included, at ten million rows and at one.

At ten million rows a peer takes a minute: it runs once, between two runs of nightscore.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.figures import Figure, at_most
from tests.bench.engine.measure import is_installed
from tests.bench.engine.outputs import differences, read_written
from tests.bench.engine.workloads import W1, W2, W3, W5L, W5X, Workload

BAR = 1


@dataclass(frozen=True)
class Case:
    """One model on so many rows."""

    title: str
    workload: Workload
    n_rows: int
    repeats: int
    asked: Mapping[str, float]
    """Peer to the share of its wall time that is asked for."""
    peer_runs: int = sys.maxsize
    """At most."""


def cases(bench: Bench) -> tuple[Case, ...]:
    """All of them, the smaller ones of a model first."""
    sizes = bench.sizes
    many, few = (sizes.many_rows, sizes.long_repeats), (sizes.rows, sizes.repeats)
    forest = (sizes.forest_rows, sizes.repeats)
    return (
        Case("boosted trees", W1, *few, {"polars": 1 / 4, "onnxruntime": 1 / 2}),
        Case("boosted trees", W1, *many, {"polars": 1 / 5, "onnxruntime": 1 / 3}, peer_runs=1),
        Case("linear model with strings", W3, *few, {"polars": 1 / 3.5}),
        Case("linear model with strings", W3, *many, {"polars": 1 / 5}, peer_runs=1),
        Case("random forest", W2, *forest, {"polars": 1 / 3}),
        Case("LightGBM", W5L, *few, {"polars": 1 / 3}),
        Case("XGBoost", W5X, *few, {"polars": 1 / 3}),
    )


def measure(bench: Bench) -> Iterator[Figure]:
    """A figure for each model, size and peer."""
    for case in cases(bench):
        workload = case.workload.sized(case.n_rows)
        if all(map(is_installed, workload.needs)):
            yield from _compare(bench, case, workload)


def _compare(bench: Bench, case: Case, workload: Workload) -> Iterator[Figure]:
    job = bench.write_job(f"peers-{workload.id}", workload)
    ways = {"nightscore": bench.run_way(job, workload)}
    for name in case.asked:
        ways[name] = bench.peer_way(name, workload)
        ways[name].most_runs = case.peer_runs
    bench.warm_up(job, workload)
    run_in_turns(ways, case.repeats)
    _check_same(ways)
    bench.compare(case.title, workload, ways)
    bench.clear(job)

    ours = ways["nightscore"].wall_s
    for name, share in case.asked.items():
        theirs = ways[name].wall_s
        what = f"{case.title}, {workload.n_rows:,} rows, share of {name}'s wall time"
        yield at_most(BAR, what, ours / theirs, share, basis=f"{ours:.2f} s, {theirs:.2f} s")


def _check_same(ways: Mapping[str, Way]) -> None:
    """Check that all have written the same scores of the same keys."""
    expected, *others = (read_written(way.output) for way in ways.values())
    for name, written in zip([*ways][1:], others, strict=True):
        if problems := differences(written, expected, by_partition=False):
            raise RuntimeError(f"{name} has written other predictions: {'; '.join(problems)}")
