"""`make bench-readme`: the README's figures and picture of speed, from what `make bench BENCH=bars` has measured.

The results become part of the project. A test compares the README's text with them.
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.bench.bars import beside_peers, shapes, start, year
from tests.bench.bars.report import BARS, summary
from tests.bench.bars.results import BarResult, Comparison, Spent, read_results, write_results
from tests.bench.bars.sizes import FULL
from tests.bench.engine.peers import PEERS
from tests.bench.engine.plot import draw

MEASURED = Path("tests/bench/bars/measured.json")
README = Path("README.md")
PICTURE = Path("deploy/pictures/speed.png")
README_COLUMNS = 118
BEGIN = "<!-- Written by `make bench-readme`. -->"
END = "<!-- The end of what it has written. -->"
OURS, BARE = "nightscore", "bare script"
PEER_TITLES = {"polars": "Polars", "onnxruntime": "ONNX Runtime"}
LIBRARIES = ("polars", "onnxruntime", "scikit-learn", "pyarrow")
NEEDED = (beside_peers.BAR, year.BAR, start.SMALL_BAR, shapes.BAR)
"""Bars that the README has figures of."""
WIDE_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}
"""Vector extensions as people call them, the widest first."""


def main() -> None:
    """Take over the last results, and write README and picture."""
    results = read_results(Path(".bench", FULL.file))
    if problem := problem_of(results):
        sys.exit(problem)
    results = {number: _for_everybody(result) for number, result in results.items()}
    write_results(MEASURED, results)
    README.write_text(with_figures(README.read_text(), figures_text(results)))
    draw({"workloads": as_workloads(results)}, PICTURE, caption(results))
    print("\n".join(summary(results)))
    print(f"written: {MEASURED}, {README}, {PICTURE}")


def problem_of(results: Mapping[int, BarResult]) -> str:
    """Why they cannot be the README's; empty: they can."""
    missing = [str(number) for number in NEEDED if number not in results]
    if missing:
        return f"The README needs more bars: make bench BENCH=bars ONLY={','.join(missing)}"
    processors = {result.machine["cpu"] for result in results.values()}
    if len(processors) > 1:
        return (
            f"Measure all bars on one processor. These were on {' and '.join(sorted(processors))}."
        )
    return ""


def with_figures(readme: str, figures: str) -> str:
    """The README with other figures between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{README} has no marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def figures_text(results: Mapping[int, BarResult]) -> str:
    """What stands between the marks: the processor, a table, and what single commands take."""
    about, *others = (
        textwrap.fill(text, README_COLUMNS, break_on_hyphens=False)
        for text in (_measured_on(results), *_sentences(results))
    )
    return "\n\n".join([about, "\n".join(_table(results)), *others])


def as_workloads(results: Mapping[int, BarResult]) -> dict[str, Any]:
    """The comparisons as the picture of the engine's bench wants them."""
    titles = {peer.name: peer.title for peer in PEERS}
    workloads = {}
    for comparison in _beside_peers(results):
        ours = comparison.ways[OURS]
        ways = {}
        for name, spent in comparison.ways.items():
            ways[name] = {
                "kind": "peer" if name in titles else "ours",
                "title": titles.get(name, name),
                "version": _versions(results).get(name, ""),
                "wall_s": spent.wall_s,
                "peak_bytes": spent.peak_bytes,
                "beside": {"wall_s": ours.wall_s, "peak_bytes": ours.peak_bytes},
            }
        workloads[f"{comparison.title}, {_shape(comparison)}"] = {
            "title": comparison.title,
            "rows": comparison.n_rows * comparison.n_partitions,
            "partitions": comparison.n_partitions,
            "ways": ways,
        }
    return workloads


def caption(results: Mapping[int, BarResult]) -> str:
    """What stands below the picture."""
    return (
        "From Parquet to Parquet in a fresh process, start-up included, with the same files and model; "
        f"nightscore also publishes and measures drift. {_measured_on(results)}"
    )


def _for_everybody(result: BarResult) -> BarResult:
    """Without the release of the kernel, which says whose machine it was."""
    machine = {name: value for name, value in result.machine.items() if name != "system"}
    return replace(result, machine=machine)


def _beside_peers(results: Mapping[int, BarResult]) -> list[Comparison]:
    """All that has a peer in it, in the order of the bars."""
    comparisons = [one for number in NEEDED for one in results[number].comparisons]
    return [one for one in comparisons if one.ways.keys() & PEER_TITLES.keys()]


def _measured_on(results: Mapping[int, BarResult]) -> str:
    machine = results[beside_peers.BAR].machine
    vectors = [title for name, title in WIDE_VECTORS.items() if name in machine["vectors"]]
    processor = f"{machine['cpu']} ({vectors[0]})" if vectors else machine["cpu"]
    days = sorted({datetime.fromisoformat(one.measured_at).date() for one in results.values()})
    day = f"{days[-1]:%-d %B %Y}"
    libraries = [f"{name} {_versions(results)[name]}" for name in LIBRARIES]
    return (
        f"Measured on {day} on {machine['cores']} cores of {processor} with {machine['memory_bytes'] / 1e9:.0f} GB "
        f"of memory: Python {machine['python']}, {', '.join(libraries)}."
    )


def _versions(results: Mapping[int, BarResult]) -> Mapping[str, str]:
    return results[beside_peers.BAR].versions


def _table(results: Mapping[int, BarResult]) -> Iterator[str]:
    yield f"| model and rows | {OURS} | {' | '.join(PEER_TITLES.values())} |"
    yield f"| --- | {' | '.join(['---:'] * (1 + len(PEER_TITLES)))} |"
    for comparison in _beside_peers(results):
        cells = [_cell(comparison.ways.get(name)) for name in (OURS, *PEER_TITLES)]
        yield f"| {comparison.title}, {_shape(comparison)} | {' | '.join(cells)} |"


def _shape(comparison: Comparison) -> str:
    rows = f"{comparison.n_rows:,} rows"
    return (
        f"{comparison.n_partitions} partitions of {rows}" if comparison.n_partitions > 1 else rows
    )


def _cell(spent: Spent | None) -> str:
    if spent is None:
        return ""
    return f"{_seconds(spent.wall_s)}, {spent.peak_bytes / 1e6:,.0f} MB"


def _sentences(results: Mapping[int, BarResult]) -> Iterator[str]:
    small, nothing = results[start.SMALL_BAR].comparisons
    (whole_year,) = results[year.BAR].comparisons
    ours, bare = whole_year.ways[OURS].wall_s, whole_year.ways[BARE].wall_s
    beyond_ms = 1_000 * (ours - bare) / whole_year.n_partitions
    yield (
        f"One partition of {small.n_rows:,} rows takes {_seconds(small.ways[OURS].wall_s)} with start and "
        f"end. A bare script that only reads, predicts with the same machine code and writes takes "
        f"{_seconds(small.ways[BARE].wall_s)}. A partition that is published and unchanged takes "
        f"{_seconds(nothing.ways[OURS].wall_s)}."
    )
    yield (
        f"In a backfill each partition is checked, compared, published and recorded by itself. That takes "
        f"{beyond_ms:.0f} ms a partition beyond reading, predicting and writing."
    )
    figures = [figure for result in results.values() for figure in result.figures]
    met = [figure for figure in figures if figure.is_met]
    yield (
        f"nightscore has {len(BARS)} aims for speed. {len(results)} of them were measured here, with "
        f"{len(figures)} figures: {len(met)} reach what is aimed at, {len(figures) - len(met)} do not. "
        f"[{MEASURED.name}]({MEASURED}) has all of them."
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"


if __name__ == "__main__":
    main()
