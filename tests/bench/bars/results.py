"""What was measured for each bar, kept in one JSON file from one call to the next."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.bars.figures import Figure


@dataclass(frozen=True)
class Spent:
    """Medians of one way's runs."""

    wall_s: float
    cpu_s: float
    peak_bytes: float
    n_runs: int


@dataclass(frozen=True)
class Comparison:
    """Ways that have done the same work in turns."""

    title: str
    n_rows: int
    """Of one partition, or of each."""
    n_partitions: int
    ways: Mapping[str, Spent]
    """nightscore's own is the first."""


@dataclass(frozen=True, kw_only=True)
class BarResult:
    """One bar, with what it was measured on."""

    figures: list[Figure]
    comparisons: list[Comparison]
    machine: dict[str, Any]
    versions: dict[str, str]
    measured_at: str
    minutes: float


def read_results(path: Path) -> dict[int, BarResult]:
    """By number of the bar; empty, if nothing was measured yet."""
    if not path.exists():
        return {}
    bars: dict[str, dict[str, Any]] = json.loads(path.read_text())["bars"]
    return {int(number): _result_of(raw) for number, raw in bars.items()}


def write_results(path: Path, results: Mapping[int, BarResult]) -> None:
    """The whole file, or the one that was there before."""
    in_order = {str(number): asdict(results[number]) for number in sorted(results)}
    spool = path.with_name(f".{path.name}")
    spool.write_text(json.dumps({"bars": in_order}, indent=1) + "\n")
    spool.replace(path)


def _result_of(raw: dict[str, Any]) -> BarResult:
    figures = [Figure(**figure) for figure in raw["figures"]]
    comparisons = [_comparison_of(comparison) for comparison in raw["comparisons"]]
    return BarResult(**raw | {"figures": figures, "comparisons": comparisons})


def _comparison_of(raw: dict[str, Any]) -> Comparison:
    ways = {name: Spent(**spent) for name, spent in raw["ways"].items()}
    return Comparison(**raw | {"ways": ways})
