"""`make bench`: measures, prints tables, and writes .bench/<name>.json."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import (
    assignment_cost,
    challenger_cost,
    drift_cost,
    metrics_cost,
    prefect_overhead,
    promotions,
    ten_terabytes,
)
from tests.bench.bars import report as bars
from tests.bench.bars import sizes as bar_sizes
from tests.bench.engine.measure import SIZES, measure
from tests.bench.engine.peers import PEERS
from tests.bench.engine.report import show
from tests.bench.estimates import measure as estimates
from tests.bench.estimates import report as estimates_report

FOLDER = Path(".bench")
KEPT_ANSWERS = "nannyml.jsonl"
"""What the peer of estimates has said already: it takes most of the time."""


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    names = [
        "prefect",
        "drift",
        "plan",
        "metrics",
        "assignment",
        "challengers",
        "promotions",
        "engine",
        "bars",
        "estimates",
    ]
    parser.add_argument(
        "name",
        nargs="*",
        choices=names,
        help="which; none: all but bars and estimates, one after another",
    )
    parser.add_argument(
        "--partitions", type=int, default=365, help="of the backfill through Prefect"
    )
    parser.add_argument(
        "--files", type=int, default=100_000, help="of the partition that is planned"
    )
    parser.add_argument("--remote", type=int, default=1_000, help="of them on an S3 server")
    parser.add_argument(
        "--repeats",
        type=int,
        help="default: 3, of the engine with --size small 1; of estimates 20 days a scenario",
    )
    engine = parser.add_argument_group("of the engine against other ways of scoring")
    engine.add_argument("--size", choices=SIZES, default="medium")
    engine.add_argument(
        "--workload", nargs="*", default=[], help="W1 to W5; none: all; others' results are kept"
    )
    engine.add_argument("--peer", nargs="*", default=[], choices=[peer.name for peer in PEERS])
    parser.add_argument(
        "--only", type=_numbers, default=(), help="numbers of bars, as 4,5; none: all"
    )
    options = parser.parse_args()
    repeats = options.repeats or 3
    ways: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], None]]] = {
        "prefect": (
            lambda: prefect_overhead.measure(options.partitions, repeats),
            prefect_overhead.show,
        ),
        "drift": (lambda: drift_cost.measure(repeats), drift_cost.show),
        "plan": (lambda: ten_terabytes.measure(options.files, options.remote), ten_terabytes.show),
        "metrics": (lambda: metrics_cost.measure(repeats), metrics_cost.show),
        "assignment": (lambda: assignment_cost.measure(repeats), assignment_cost.show),
        "challengers": (lambda: challenger_cost.measure(repeats), challenger_cost.show),
        "promotions": (promotions.measure, promotions.show),
        "estimates": (
            lambda: estimates.measure(options.repeats or estimates.N_DAYS, FOLDER / KEPT_ANSWERS),
            estimates_report.show,
        ),
    }
    usual = [name for name in ways if name != "estimates"]
    FOLDER.mkdir(exist_ok=True)
    for name in options.name or [*usual, "engine"]:
        if name == "bars":
            size_name = "small" if options.size == "small" else "full"
            if not bars.measure(bar_sizes.SIZES[size_name], FOLDER, options.only):
                sys.exit(1)
            continue
        if name == "engine":
            size = SIZES[options.size]
            measure(
                size,
                FOLDER,
                workloads=options.workload,
                peers=options.peer,
                repeats=options.repeats,
            )
            show(FOLDER / size.file)
            continue
        run, print_result = ways[name]
        result = run()
        print_result(result)
        (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(map(int, text.split(",")))
    if unknown := sorted(set(numbers) - set(bars.BARS)):
        raise argparse.ArgumentTypeError(f"there is no bar {unknown[0]}")
    return numbers


if __name__ == "__main__":
    main()
