"""The result as text and as Markdown."""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench.engine.measure import BOUND

HEAD = ("", "wall s", "CPU s", "peak MB", "runs", "wall", "CPU", "peak", "remarks")
"""The later ones are multiples of nightscore's own."""


def as_markdown(result: dict[str, Any]) -> str:
    """One document: the machine, and a table a workload."""
    return "\n".join([*_lines(result), ""])


def _lines(result: dict[str, Any]) -> Iterator[str]:
    for workload in result["workloads"].values():
        yield f"### {workload['id']}: {workload['title']}"
        yield ""
        yield caption(workload)
        yield ""
        if "not_installed" in workload:
            yield f"Not installed: {', '.join(workload['not_installed'])}."
            yield ""
            continue
        yield from _table(HEAD, _rows(workload))
        yield ""
        yield from _about(workload)
        yield ""
    if any(workload["size"] == "small" for workload in result["workloads"].values()):
        yield "Of so few rows start-up is nearly all: this shows that everything works, and nothing else."


def caption(workload: dict[str, Any]) -> str:
    """What was measured, when, on what."""
    machine = workload["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in workload["versions"].items())
    shape = f"{workload['rows']:,} rows"
    if workload["partitions"] > 1:
        shape += f" in {workload['partitions']} partitions"
    return (
        f"{shape}, medians of {workload['repeats']} in turns, {workload['measured_at']}; {machine['cores']} cores of "
        f"{machine['cpu']}, {machine['memory_bytes'] / 1e9:.0f} GB, {machine['system']}, load before "
        f"{machine['load_before']:.1f}; Python {machine['python']}, {versions}"
    )


def _rows(workload: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for way in workload["ways"].values():
        title = (
            f"{way['title']} ({way['version']})"
            if way.get("version") and way["kind"] == "peer"
            else way["title"]
        )
        if "wall_s" not in way:
            yield (title, *([""] * (len(HEAD) - 2)), way["error"])
            continue
        beside = way["beside"]
        notes = [*way["notes"], *([way["error"]] if way["error"] else [])]
        if way["measured_at"] != workload["measured_at"]:
            seconds = f"{beside['wall_s']:.1f} s, {beside['cpu_s']:.1f} CPU s, {beside['peak_bytes'] / 1e6:.0f} MB"
            notes.append(f"measured {way['measured_at']}, beside nightscore's {seconds}")
        yield (
            title,
            f"{way['wall_s']:.1f}",
            f"{way['cpu_s']:.1f}",
            f"{way['peak_bytes'] / 1e6:.0f}",
            str(len(way["samples"])),
            *(f"{way[name] / beside[name]:.1f}" for name in ("wall_s", "cpu_s", "peak_bytes")),
            "; ".join(notes),
        )
    if first := workload.get("first"):
        numbers = (
            f"{first['wall_s']:.1f}",
            f"{first['cpu_s']:.1f}",
            f"{first['peak_bytes'] / 1e6:.0f}",
            "1",
        )
        yield ("nightscore, first run of the model on a host", *numbers, "", "", "", "")


def _about(workload: dict[str, Any]) -> Iterator[str]:
    bound = workload[BOUND]
    stages = ", ".join(
        f"{name} {1e9 * spent:,.0f}" for name, spent in bound["cpu_s_per_row"].items()
    )
    strings = f", strings read as {bound['strings_read']}" if bound["strings_read"] else ""
    cores = workload["machine"]["cores"]
    yield (
        f"Bound: {bound['rows_per_s']:,.0f} rows/s, were these perfectly overlapped on {cores} cores: {stages} ns a "
        f"row of one core ({bound['predictor']}{strings})."
    )
    for way in workload["ways"].values():
        if way["kind"] == "ours" and way.get("stages_s"):
            yield f"Where the time goes, {way['title']}: {_profile(way)}."
    spread = [
        f"{name} {min(walls):.1f}-{max(walls):.1f}"
        for name, way in workload["ways"].items()
        if len(walls := [sample["wall_s"] for sample in way.get("samples", ())]) > 1
    ]
    if spread:
        yield f"Wall s, least and most: {'; '.join(spread)}."


def _profile(way: dict[str, Any]) -> str:
    """Of the whole command's seconds: what starts and ends it, the stages of its runs, and within scoring what all
    workers' threads took together."""
    stages = way["stages_s"]
    of_run = {name: s for name, s in stages.items() if not name.startswith("workers_")}
    of_workers = {
        name.removeprefix("workers_"): s
        for name, s in stages.items()
        if name.startswith("workers_")
    }
    inside = ", ".join(f"{name} {s:.2f}" for name, s in of_workers.items())
    parts = [
        f"{name} {s:.2f}{f' ({inside} of all threads)' * (name == 'score')}"
        for name, s in of_run.items()
    ]
    around = way["wall_s"] - sum(of_run.values())
    if around > 0:  # runs that overlap take more together than the command
        parts.insert(0, f"start, end and all between {around:.2f}")
    return f"{way['wall_s']:.2f} s wall, {way['cpu_s']:.2f} CPU s: {'; '.join(parts)}"


def _table(
    head: Sequence[str], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]
) -> Iterator[str]:
    """Markdown that reads well as text too."""
    cells = [tuple(head), *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for index, row in enumerate(cells):
        padded = [
            cell.ljust(width) if i == 0 or not _is_number_column(cells, i) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"| {' | '.join(padded)} |"
        if index == 0:
            marks = [
                "-" * width
                if i == 0 or not _is_number_column(cells, i)
                else "-" * (width - 1) + ":"
                for i, width in enumerate(widths)
            ]
            yield f"| {' | '.join(marks)} |"


def _is_number_column(cells: list[tuple[str, ...]], i: int) -> bool:
    return all(not row[i] or row[i].replace(".", "").isdigit() for row in cells[1:]) and any(
        row[i] for row in cells[1:]
    )
