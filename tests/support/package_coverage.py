"""Line and branch coverage of each package, from what `coverage json` has written.

`make coverage` prints it; `python -m tests.support.package_coverage one.json other.json` prints two
side by side.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def package_of(path: str) -> str:
    """The folder below `scoring`, `flows` or `schemas`; modules beside the folders count as one package."""
    parts = Path(path).parts
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def percentages(path: Path) -> dict[str, tuple[float, float]]:
    """Package to the percentages of its lines and of its branches that were run."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for name, file in json.loads(path.read_text())["files"].items():
        for package in (package_of(name), "all"):
            for i, key in enumerate(COUNTS):
                counts[package][i] += file["summary"][key]
    return {
        package: (100 * covered / max(lines, 1), 100 * taken / max(branches, 1))
        for package, (lines, covered, branches, taken) in sorted(counts.items())
    }


def main(paths: list[str]) -> None:
    tables = [percentages(Path(path)) for path in paths]
    for package in sorted({package for table in tables for package in table}):
        cells = [
            "lines {:6.1f} %  branches {:6.1f} %".format(*table[package])
            if package in table
            else " " * 34
            for table in tables
        ]
        sys.stdout.write(f"{package:24} {'   '.join(cells)}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or [".coverage/coverage.json"])
