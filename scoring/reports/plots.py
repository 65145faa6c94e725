"""Draws bars and series: as inline SVG that follows the page's colours, and as one small PNG."""

import base64
import io
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.monitoring.drift.labels import show_number
from nightscore.profiles.bins import Floats
from nightscore.reports.bars import Bars
from nightscore.reports.svg import make_lean

COLOURS = {
    "#010101": "var(--text)",
    "#020202": "var(--reference)",
    "#030303": "var(--current)",
    "#040404": "var(--line)",
}
"""What is drawn with, and the page's name for it, in light and dark."""
TEXT, REFERENCE, CURRENT, AXIS = COLOURS
LABEL_LENGTH = 10
SHORT_LABEL_LENGTH = 6
"""Characters of a category, in a histogram and on the contact sheet."""
MAX_DATES = 6
LEAST_CHANGE = 0.05
"""Percentage points: an axis of smaller changes would show what rounding leaves of equal shares."""
_drawing = threading.Lock()
"""Matplotlib has one set of settings for all threads."""
PNG_COLOURS = {TEXT: "#333333", REFERENCE: "#b8bec8", CURRENT: "#c2410c", AXIS: "#cccccc"}


@dataclass(frozen=True, slots=True)
class Line:
    """One statistic over the partitions."""

    title: str
    values: Sequence[float | None]
    threshold: float | None = None
    """From here on it is a warning."""


def histogram_svg(bars: Bars, name: str) -> str:
    """Both distributions over each other, and below them the change of each bin's share."""

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
        _draw_bars(above, bars)
        points = bars.change * 100

        if bars.edges is not None:
            below.stairs(points, bars.edges, fill=True, color=CURRENT)
        else:
            below.bar(range(len(bars.labels)), points, width=0.8, color=CURRENT)

        below.axhline(0, color=AXIS, linewidth=0.8)
        below.set_ylabel("change", fontsize=7.5, color=TEXT)

        if np.abs(points).max() < LEAST_CHANGE:
            below.set_ylim(-1, 1)

        _label_axis(below, bars, LABEL_LENGTH)
        below.locator_params(axis="y", nbins=3)

    return draw_svg(draw, (4.4, 2.3), name)


def trend_svg(partitions: Sequence[str], lines: Sequence[Line], name: str) -> str:
    """One line a statistic, above each other; a threshold is dashed.

    Args:
        partitions: In order.
        lines: Each with a value for every partition.
        name: Tells the drawings of a page apart.
    """

    def draw(figure: Any) -> None:
        axes = np.atleast_1d(figure.subplots(len(lines), 1, sharex=True))
        for panel, line in zip(axes, lines, strict=True):
            _draw_line(panel, line)

        label_dates(axes[-1], partitions)

    return draw_svg(draw, (4.4, 0.9 * len(lines) + 0.4), name)


def label_dates(axes: Any, partitions: Sequence[str]) -> None:
    """Label at most a few places of the horizontal axis with their partitions."""
    step = max(1, math.ceil(len(partitions) / MAX_DATES))
    axes.set_xticks(range(0, len(partitions), step), partitions[::step])


def contact_sheet_png(columns: Sequence[tuple[str, Bars]]) -> bytes:
    """Up to nine columns, three a row: the reference as bars, the current values as a line."""
    n_rows = max(1, math.ceil(len(columns) / 3))

    def draw(figure: Any) -> None:
        axes = np.atleast_1d(figure.subplots(n_rows, 3)).ravel()
        for panel, (title, bars) in zip(axes, columns, strict=False):
            _draw_bars(panel, bars)
            _label_axis(panel, bars, SHORT_LABEL_LENGTH)
            panel.set_title(_shorten(title, 30), fontsize=8, color=TEXT, loc="left", pad=3)
            _style(panel)
            panel.tick_params(labelsize=6)

        for panel in axes[len(columns) :]:
            panel.set_axis_off()

    return _png(draw, (7.2, 1.55 * n_rows))


def draw_png(draw: Callable[[Any], None], size: tuple[float, float]) -> bytes:
    """A drawing as a picture on white, for pages that show no SVG.

    Args:
        draw: Fills a Matplotlib figure.
        size: Width and height in inches.
    """

    def draw_styled(figure: Any) -> None:
        draw(figure)
        for axes in figure.axes:
            _style(axes)

    return _png(draw_styled, size)


def data_uri(png: bytes) -> str:
    """A picture as a URL that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _draw_line(axes: Any, line: Line) -> None:
    numbers = np.array(line.values, np.float64)  # None becomes nan, which leaves a gap
    axes.plot(range(len(numbers)), numbers, color=CURRENT, linewidth=1.4)

    alone = isolated(numbers)
    axes.plot(alone, numbers[alone], color=CURRENT, linestyle="", marker="s", markersize=2.5)

    if line.threshold is not None:
        axes.axhline(line.threshold, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_title(line.title, fontsize=8, color=TEXT, loc="left", pad=3)
    axes.locator_params(axis="y", nbins=3)


def _draw_bars(axes: Any, bars: Bars) -> None:
    if bars.edges is not None:
        axes.stairs(bars.reference * 100, bars.edges, fill=True, color=REFERENCE)
        axes.stairs(bars.current * 100, bars.edges, color=CURRENT, linewidth=1.3)
    else:
        places = np.arange(len(bars.labels))
        axes.bar(places - 0.2, bars.reference * 100, width=0.4, color=REFERENCE)
        axes.bar(places + 0.2, bars.current * 100, width=0.4, color=CURRENT)
    axes.set_ylabel("% of rows", fontsize=7.5, color=TEXT)
    axes.locator_params(axis="y", nbins=4)


def _label_axis(axes: Any, bars: Bars, length: int) -> None:
    """Label categories with at most `length` characters, numbers with round values."""
    if bars.edges is not None:
        ticks = bars.ticks
        axes.set_xticks([tick.place for tick in ticks], [tick.label for tick in ticks])
        return

    texts = [_shorten(label, length) for label in bars.labels]
    rotation = 45 if max(map(len, texts)) > 2 else 0
    axes.set_xticks(range(len(texts)), texts, rotation=rotation, ha="right")


def isolated(numbers: Floats) -> npt.NDArray[np.int64]:
    """Places of values between gaps, which no line shows, and of the last one."""
    is_known = np.concatenate([[False], np.isfinite(numbers), [False]])
    is_isolated = is_known[1:-1] & ~is_known[:-2] & ~is_known[2:]
    is_isolated[-1] = is_known[-2]
    return np.flatnonzero(is_isolated)


def _shorten(text: str, size: int) -> str:
    if len(text) <= size:
        return text
    return f"{text[: size - 1]}…"


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure  # takes half a second, which only a report pays

    return Figure(figsize=size, layout="constrained")


def draw_svg(draw: Callable[[Any], None], size: tuple[float, float], name: str) -> str:
    """A drawing as SVG in the colours of the page.

    Args:
        draw: Fills a Matplotlib figure.
        size: Width and height in inches.
        name: Tells the drawings of a page apart.
    """
    import matplotlib

    options: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with _drawing, matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that its own font lacks
        figure = _figure(size)
        draw(figure)

        for axes in figure.axes:
            _style(axes)

        sink = io.StringIO()
        figure.savefig(
            sink,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )

    return make_lean(sink.getvalue(), COLOURS)


def _png(draw: Callable[[Any], None], size: tuple[float, float]) -> bytes:
    import matplotlib

    sink = io.BytesIO()
    options: Any = {"text.parse_math": False}
    with _drawing, matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = _figure(size)
        draw(figure)

        for artist in figure.findobj():
            _recolour(artist)

        figure.savefig(sink, format="png", dpi=110, facecolor="white", metadata={"Software": None})

    return sink.getvalue()


def _style(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    axes.tick_params(labelsize=7.5, colors=TEXT, color=AXIS, length=2)
    _label_values(axes)


def _label_values(axes: Any) -> None:
    """Write the values of the vertical axis out: no offset, no common power of ten."""
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(_value_label))


def _value_label(value: float, place: int | None) -> str:
    """A round value, which needs few digits; `place` is Matplotlib's count of the ticks."""
    return show_number(value, 6)


def _recolour(artist: Any) -> None:
    """A picture has no style sheet: its colours are fixed."""
    for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
        get_colour = getattr(artist, f"get_{name}", None)
        set_colour = getattr(artist, f"set_{name}", None)
        if get_colour is None or set_colour is None:
            continue

        colour = _only_colour(get_colour())
        if colour in PNG_COLOURS:
            set_colour(PNG_COLOURS[colour])


def _only_colour(colour: Any) -> str:
    """As text such as `#010101`. Empty: there are several colours, or none."""
    from matplotlib.colors import to_hex

    is_list_of_one = isinstance(colour, np.ndarray) and colour.shape == (1, 4)
    try:
        return to_hex(colour[0] if is_list_of_one else colour)
    except ValueError:
        return ""
