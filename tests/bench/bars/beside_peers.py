"""Bar 1: wall time beside the peers, start-up included, at ten million rows and at one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.bench.bars.bench import Bench, Way, run_in_turns
from tests.bench.bars.figures import Figure, at_most
from tests.bench.engine.measure import is_installed
from tests.bench.engine.outputs import differences, read_written
from tests.bench.engine.workloads import W1, W2, W3, W5L, W5X, Workload

BAR = 1


@dataclass(frozen=True)
class Comparison:
    """One model on so many rows."""

    title: str
    workload: Workload
    n_rows: int
    repeats: int
    asked: Mapping[str, float]
    """Peer to the share of its wall time that is asked for."""


def comparisons(bench: Bench) -> tuple[Comparison, ...]:
    """All of them, the largest first."""
    sizes = bench.sizes
    many, few = (sizes.many_rows, sizes.many_repeats), (sizes.rows, sizes.repeats)
    forest = (sizes.forest_rows, sizes.repeats)
    return (
        Comparison("HGB", W1, *many, {"polars": 1 / 5, "onnxruntime": 1 / 3}),
        Comparison("linear + strings", W3, *many, {"polars": 1 / 5}),
        Comparison("HGB", W1, *few, {"polars": 1 / 4, "onnxruntime": 1 / 2}),
        Comparison("linear + strings", W3, *few, {"polars": 1 / 3.5}),
        Comparison("forest", W2, *forest, {"polars": 1 / 3}),
        Comparison("LightGBM", W5L, *few, {"polars": 1 / 3}),
        Comparison("XGBoost", W5X, *few, {"polars": 1 / 3}),
    )


def measure(bench: Bench) -> Iterator[Figure]:
    """A figure for each model, size and peer."""
    for comparison in comparisons(bench):
        workload = comparison.workload.sized(comparison.n_rows)
        if all(map(is_installed, workload.needs)):
            yield from _compare(bench, comparison, workload)


def _compare(bench: Bench, comparison: Comparison, workload: Workload) -> Iterator[Figure]:
    job = bench.write_job(f"peers-{workload.id}", workload)
    ways = {"nightscore": bench.run_way(job, workload)}
    ways |= {name: bench.peer_way(name, workload) for name in comparison.asked}
    run_in_turns({"nightscore, not counted": bench.run_way(job, workload)}, 1)  # fills the cache
    run_in_turns(ways, comparison.repeats)
    _check_same(ways)
    bench.clear(job)

    ours = ways["nightscore"].wall_s
    for name, share in comparison.asked.items():
        theirs = ways[name].wall_s
        what = f"{comparison.title}, {workload.n_rows:,} rows, share of {name}'s wall time"
        yield at_most(BAR, what, ours / theirs, share, basis=f"{ours:.2f} s, {theirs:.2f} s")


def _check_same(ways: Mapping[str, Way]) -> None:
    """Check that all have written the same scores of the same keys."""
    expected, *others = (read_written(way.output) for way in ways.values())
    for name, written in zip([*ways][1:], others, strict=True):
        if problems := differences(written, expected, by_partition=False):
            raise RuntimeError(f"{name} has written other predictions: {'; '.join(problems)}")
