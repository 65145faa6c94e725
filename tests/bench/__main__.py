"""`make bench`: measures, prints tables, and writes .bench/<name>.json."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import drift_cost, prefect_overhead, ten_terabytes

FOLDER = Path(".bench")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    names = ["prefect", "drift", "plan"]
    parser.add_argument("name", nargs="*", choices=names, help="which; none: all, one after another")
    parser.add_argument("--partitions", type=int, default=365, help="of the backfill through Prefect")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--files", type=int, default=100_000, help="of the partition that is planned")
    parser.add_argument("--remote", type=int, default=1_000, help="of them on an S3 server")
    options = parser.parse_args()
    ways: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[dict[str, Any]], None]]] = {
        "prefect": (lambda: prefect_overhead.measure(options.partitions, options.repeats), prefect_overhead.show),
        "drift": (lambda: drift_cost.measure(options.repeats), drift_cost.show),
        "plan": (lambda: ten_terabytes.measure(options.files, options.remote), ten_terabytes.show),
    }
    for name in options.name or ways:
        measure, show = ways[name]
        result = measure()
        show(result)
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
