"""The result as one picture: how many times nightscore's wall time and memory each peer takes."""

import textwrap
from pathlib import Path
from typing import Any

from tests.bench.engine.measure import OURS
from tests.bench.engine.peers import PEERS

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
"""Tol's bright scheme: told apart by people who see red and green alike."""
TICKS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SIDES = (("wall_s", "wall time"), ("peak_bytes", "peak memory"))


def draw(result: dict[str, Any], path: Path, caption: str | None = None) -> None:
    """Write a PNG of less than 100 KB; nothing, if no peer was measured.

    Args:
        result: Its workloads, each with what its ways took.
        path: Of the picture.
        caption: What stands below; None: of the engine's bench.
    """
    from matplotlib.figure import Figure

    workloads = [workload for workload in result["workloads"].values() if _peers(workload)]
    if not workloads:
        return
    names = [peer.name for peer in PEERS]
    figure = Figure(
        figsize=(9.0, 1.6 + 0.17 * sum(len(_peers(workload)) + 2 for workload in workloads)),
        dpi=100,
    )
    for axes, (what, title) in zip(figure.subplots(1, 2, sharey=True), SIDES, strict=True):
        place, ticks = 0.0, []
        for workload in workloads:
            peers = _peers(workload)
            begin = place
            for name, way in peers.items():
                ratio = way[what] / way["beside"][what]
                label = f"{way['title'].split(',')[0]} {way['version']}"
                known = axes.get_legend_handles_labels()[1]
                color = COLORS[names.index(name)]
                axes.barh(place, ratio, 0.85, color=color, label=None if label in known else label)
                axes.annotate(
                    f"{ratio:.1f}",
                    (ratio, place),
                    (3, 0),
                    textcoords="offset points",
                    va="center",
                    size=6,
                )
                place += 1.0
            ticks.append(((begin + place - 1.0) / 2, _tick(workload)))
            place += 1.5
        axes.axvline(1.0, color="black", linewidth=1.0)
        axes.set_xscale("log")
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.minorticks_off()
        ratios = [
            way[what] / way["beside"][what]
            for workload in workloads
            for way in _peers(workload).values()
        ]
        axes.set_xlim(min(0.8, 0.8 * min(ratios)), 1.4 * max(1.5, *ratios))
        axes.set_title(f"{title}, times nightscore's", size=9)
        axes.set_yticks([tick for tick, _ in ticks], [text for _, text in ticks], size=7)
        axes.tick_params(axis="x", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.05),
        ncols=4,
        fontsize=7,
        frameon=False,
    )
    text = _caption(workloads) if caption is None else caption
    figure.text(0.01, 0.005, "\n".join(textwrap.wrap(text, 170)), size=6, va="bottom")
    figure.tight_layout(rect=(0.0, 0.1, 1.0, 1.0))
    figure.savefig(path)


def _peers(workload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: way
        for name, way in workload["ways"].items()
        if way["kind"] == "peer" and "wall_s" in way
    }


def _tick(workload: dict[str, Any]) -> str:
    size = f"{workload['rows'] / 1e6:.3g}M rows"
    if workload["partitions"] > 1:
        size += f", {workload['partitions']} partitions"
    return "\n".join(textwrap.wrap(workload["title"], 24)) + f"\n{size}"


def _caption(workloads: list[dict[str, Any]]) -> str:
    machine, versions = workloads[0]["machine"], workloads[0]["versions"]
    ours = ", ".join(
        f"{workload['name']} {way['wall_s']:.1f} s, {way['peak_bytes'] / 1e6:.0f} MB"
        for workload, way in ((workload, workload["ways"][OURS]) for workload in workloads)
    )
    libraries = ", ".join(
        f"{name} {versions[name]}" for name in ("scikit-learn", "mlflow", "pyarrow")
    )
    return (
        f"From Parquet to Parquet in a fresh process, start-up included, the same files and model, medians of "
        f"{workloads[0]['repeats']} in turns; nightscore also publishes and watches drift. {machine['cores']} cores "
        f"of {machine['cpu']}; Python {machine['python']}, {libraries}. nightscore itself: {ours}."
    )
