"""`make bench`: measures, prints tables, and writes .bench/<name>.json."""

import argparse
import json
from pathlib import Path

from tests.bench import prefect_overhead

FOLDER = Path(".bench")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("--partitions", type=int, default=365, help="of the backfill through Prefect")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    result = prefect_overhead.measure(options.partitions, options.repeats)
    prefect_overhead.show(result)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "prefect.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
