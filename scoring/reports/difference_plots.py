"""How two models' scores differ, drawn: both scores, the differences, and their groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nightscore.monitoring.differences.difference_summary import ordered_deltas
from nightscore.monitoring.differences.differing_groups import all_groups
from nightscore.monitoring.differences.wording import show_bounds
from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.differences.difference_counts import DifferenceCounts, Joint
from nightscore.reports.plots import AXIS, CURRENT, TEXT, draw_png, draw_svg
from nightscore.schemas.difference import DifferenceRecord

SCORE_BINS = 24
"""Bins of each model's scores in the picture, of equal width."""
DELTA_BINS = 41
"""Odd, so that one of them has 0 in its middle."""
OUTSIDE = 0.005
"""Share of rows at each end of the differences that the outermost bars hold."""
SHADES = 6
MOST_BARS = 40
LABEL_LENGTH = 26


@dataclass(frozen=True, slots=True)
class Bar:
    """The rows of one group."""

    column: str
    label: str
    """Which values of the column."""
    mean_absolute: float


def scores_svg(joint: Joint, name: str) -> str:
    """Rows by both scores, the darker the more. On the dashed line, both are equal."""

    def draw(figure: Any) -> None:
        draw_scores(figure.subplots(), joint)

    return draw_svg(draw, (4.4, 3.4), name)


def deltas_svg(counts: DifferenceCounts, name: str) -> str:
    """Rows by their difference: challenger minus champion."""

    def draw(figure: Any) -> None:
        draw_deltas(figure.subplots(), counts)

    return draw_svg(draw, (4.4, 2.4), name)


def bars_svg(bars: Sequence[Bar], mean: float, name: str) -> str:
    """The mean size of the difference in each group; the dashed line is that of all rows."""

    def draw(figure: Any) -> None:
        draw_bars(figure.subplots(), bars, mean)

    return draw_svg(draw, (4.4, 0.7 + 0.22 * len(bars)), name)


def difference_png(counts: DifferenceCounts, found: DifferenceRecord) -> bytes:
    """All that is known of both scores, the differences and their groups, side by side."""
    bars = group_bars(counts, found)
    has_scores = counts.joint is not None
    n_panels = 1 + has_scores + bool(bars)

    def draw(figure: Any) -> None:

        panels = iter(np.atleast_1d(figure.subplots(1, n_panels)))
        if counts.joint is not None:
            draw_scores(next(panels), counts.joint)

        draw_deltas(next(panels), counts)
        if bars:
            mean = found.delta.mean_absolute if found.delta is not None else 0.0
            draw_bars(next(panels), bars, mean)

    return draw_png(draw, (3.4 * n_panels, 2.6))


def group_bars(counts: DifferenceCounts, found: DifferenceRecord) -> list[Bar]:
    """The groups of the column that tells most; none if no column does."""
    first = found.where or next(iter(found.groups), None)
    groups = counts.groups.get(first.column) if first is not None else None
    if groups is None:
        return []

    bars = []
    for record in all_groups(groups, has_threshold=False)[:MOST_BARS]:
        bars.append(Bar(record.column, show_bounds(record), record.mean_absolute))
    return bars


def draw_scores(axes: Any, joint: Joint) -> None:
    """Fill a panel with squares, whose shade is the logarithm of their rows."""
    cells, low, high = _square_cells(joint)
    width = (high - low) / SCORE_BINS
    shades = np.log1p(cells) / max(np.log1p(cells.max()), 1e-9)

    for shade in range(SHADES):
        chosen = (np.ceil(shades * SHADES) == shade + 1) & (cells > 0)
        for column, row in np.argwhere(chosen).tolist():
            corner = low + column * width, low + row * width
            axes.add_patch(_square(corner, width, (shade + 1) / SHADES))

    axes.plot([low, high], [low, high], color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))

    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("champion", fontsize=7.5, color=TEXT)
    axes.set_ylabel("challenger", fontsize=7.5, color=TEXT)


def draw_deltas(axes: Any, counts: DifferenceCounts) -> None:
    """Fill a panel with bars of the share of rows; the outermost hold all beyond."""
    values, rows = ordered_deltas(counts)
    reach = _reach(values, rows)
    edges = np.linspace(-reach, reach, DELTA_BINS + 1)

    bins = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, DELTA_BINS - 1)
    shares = np.bincount(bins, weights=rows, minlength=DELTA_BINS) / rows.sum()

    axes.stairs(100 * shares, edges, fill=True, color=CURRENT)
    axes.axvline(0, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlabel("challenger minus champion", fontsize=7.5, color=TEXT)
    axes.set_ylabel("% of rows", fontsize=7.5, color=TEXT)
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=4)


def draw_bars(axes: Any, bars: Sequence[Bar], mean: float) -> None:
    """Fill a panel with one bar a group, the first one on top."""
    places = range(len(bars))
    axes.barh(places, [bar.mean_absolute for bar in bars], height=0.7, color=CURRENT)
    axes.axvline(mean, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))

    # Ticks would be formatted as numbers.
    axes.set_yticks([])
    for place, bar in enumerate(bars):
        across = axes.get_yaxis_transform()
        style = {"ha": "right", "va": "center", "fontsize": 7.5, "color": TEXT}
        axes.text(-0.02, place, _shortened(bar.label), transform=across, **style)

    axes.invert_yaxis()
    axes.set_title(_shortened(bars[0].column), fontsize=7.5, color=TEXT)
    axes.set_xlabel("mean size of the difference", fontsize=7.5, color=TEXT)
    axes.locator_params(axis="x", nbins=4)
    axes.grid(axis="x", color=AXIS, linewidth=0.4)
    axes.set_axisbelow(True)


def _square_cells(joint: Joint) -> tuple[Counts, float, float]:
    """Rows by equal bins of both scores, shape (SCORE_BINS, SCORE_BINS), and where these end."""
    champion, challenger = joint.champion.edges, joint.challenger.edges
    low = min(champion[0], challenger[0])
    high = max(champion[-1], challenger[-1])

    columns = _places(np.array(champion), low, high)
    rows = _places(np.array(challenger), low, high)

    cells = np.zeros((SCORE_BINS, SCORE_BINS), np.int64)
    np.add.at(cells, (columns[:, None], rows[None, :]), joint.rows)
    return cells, low, high


def _places(edges: Floats, low: float, high: float) -> Counts:
    """The equal bin of the middle of each bin between the edges."""
    ends = np.concatenate([[low], edges, [high]])
    middles = (ends[:-1] + ends[1:]) / 2
    places = (middles - low) / (high - low) * SCORE_BINS
    bins: Counts = np.clip(places, 0, SCORE_BINS - 1).astype(np.int64)
    return bins


def _reach(values: Floats, rows: Counts) -> float:
    """How far the axis of differences goes to both sides."""
    below = np.cumsum(rows) / rows.sum()
    places = np.searchsorted(below, [OUTSIDE, 1 - OUTSIDE])
    ends = values[np.minimum(places, len(values) - 1)]
    return float(np.abs(ends).max()) or 1e-6


def _square(corner: tuple[float, float], width: float, shade: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, width, width, facecolor=CURRENT, alpha=shade, linewidth=0)


def _shortened(label: str) -> str:
    return label if len(label) <= LABEL_LENGTH else f"{label[: LABEL_LENGTH - 1]}…"
