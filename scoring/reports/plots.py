"""Plots of profiles and their series: as inline SVG that follows the page's colours, and as one small PNG."""

import base64
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile

DISPLAY_BINS = 24
SHOWN_CATEGORIES = 10
COLOURS = {
    "#010101": "var(--text)",
    "#020202": "var(--then)",
    "#030303": "var(--now)",
    "#040404": "var(--line)",
}
"""What is drawn with and what the page's style sheet makes of it, in light and dark."""
TEXT, THEN, NOW, LINE = COLOURS
PNG_COLOURS = {TEXT: "#333333", THEN: "#b8bec8", NOW: "#c2410c", LINE: "#cccccc"}
NO_XML = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Characters that XML knows no way to say, and those that drive a terminal or turn text around; Matplotlib writes
them all the same."""
SPARKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares of rows in the same bins, then and now, ready to be drawn; 1 is all rows that have a value."""

    then: Floats
    now: Floats
    labels: tuple[str, ...] = ()
    """Of categories."""
    edges: Floats | None = None
    """Of numbers: ends of the bins on the axis; the outer ones hold all that is beyond."""
    is_time: bool = False


def bars_of(then: ColumnProfile, now: ColumnProfile) -> Bars | None:
    """None where there is nothing to draw: no values, or two kinds."""
    before, after = then.profile, now.profile
    if isinstance(before, NumberProfile) and isinstance(after, NumberProfile):
        return _number_bars(before, after, then.type)
    if isinstance(before, NumberProfile) or isinstance(after, NumberProfile):
        return None
    n, m = before.counts.total(), after.counts.total()
    both = before.counts + after.counts
    names = sorted(
        both,
        key=lambda name: (-before.counts[name] / max(n, 1) - after.counts[name] / max(m, 1), name),
    )
    shown = names[:SHOWN_CATEGORIES]
    if not shown:
        return None
    sides = []
    for counts, total in ((before.counts, n), (after.counts, m)):
        shares = [counts[name] / max(total, 1) for name in shown]
        sides.append(
            np.array([*shares, *([1 - sum(shares)] if len(names) > len(shown) and total else [])])
        )
    labels = [*shown, *(["all others"] if len(names) > len(shown) else [])]
    width = max(map(len, sides))
    before_bars, after_bars = (np.pad(side, (0, width - len(side))) for side in sides)
    return Bars(before_bars, after_bars, tuple(labels[:width]))


def _number_bars(then: NumberProfile, now: NumberProfile, kind: str) -> Bars | None:
    edges = then.edges.both
    if not len(edges) or not then.n_finite or not then.edges.equals(now.edges):
        return None
    low, high = float(edges[0]), float(edges[-1])
    if high <= low or not np.isfinite(high - low):
        high = low + max(abs(low) * 1e-3, 1e-9)
    places = np.linspace(low, high, DISPLAY_BINS + 1)
    sides = []
    for profile in (then, now):
        if not profile.n_finite:
            sides.append(np.zeros(DISPLAY_BINS + 2))
            continue
        below = np.cumsum(profile.counts)[:-1] / profile.n_finite
        at = np.interp(
            places, edges, below
        )  # a spike has two edges side by side, where the function jumps
        sides.append(np.diff(np.concatenate([[0.0], at, [1.0]])))
    step = places[1] - places[0]
    ends = np.concatenate([[low - step], places, [high + step]])
    is_time = kind.startswith(("date", "timestamp"))
    return Bars(
        sides[0], sides[1], edges=ends * (86_400 if kind.startswith("date") else 1), is_time=is_time
    )


def histogram_svg(bars: Bars, name: str) -> str:
    """Then and now over each other, and below the difference of the shares in each bin."""

    def draw(figure: Any) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
        _draw_bars(above, bars)
        difference = (bars.now - bars.then) * 100
        if bars.edges is not None:
            below.stairs(difference, bars.edges, fill=True, color=NOW)
        else:
            below.bar(range(len(bars.labels)), difference, width=0.8, color=NOW)
        below.axhline(0, color=LINE, linewidth=0.8)
        below.set_ylabel("change", fontsize=7.5, color=TEXT)
        _label_axis(below, bars)
        below.locator_params(axis="y", nbins=3)

    return _svg(draw, (4.4, 2.3), name)


def trend_svg(
    partitions: Sequence[str],
    series: Sequence[tuple[str, Sequence[float | None], float | None]],
    name: str,
) -> str:
    """One line a statistic, above each other; a threshold is dashed.

    Args:
        partitions: In order.
        series: Title, values (None: not known) and threshold of each.
        name: Of what it is about; distinguishes the drawings of a page.
    """

    def draw(figure: Any) -> None:
        axes = np.atleast_1d(figure.subplots(len(series), 1, sharex=True))
        for one, (title, values, threshold) in zip(axes, series, strict=True):
            numbers = np.array([np.nan if value is None else value for value in values], np.float64)
            one.plot(range(len(numbers)), numbers, color=NOW, linewidth=1.4)
            alone = _alone(numbers)
            one.plot(alone, numbers[alone], color=NOW, linestyle="", marker="s", markersize=2.5)
            if threshold is not None:
                one.axhline(threshold, color=TEXT, linewidth=0.8, linestyle=(0, (4, 3)))
            one.set_title(title, fontsize=8, color=TEXT, loc="left", pad=3)
            one.locator_params(axis="y", nbins=3)
        last = axes[-1]
        step = max(1, -(-len(partitions) // 6))
        places = list(range(0, len(partitions), step))
        last.set_xticks(places, [partitions[place] for place in places])

    return _svg(draw, (4.4, 0.9 * len(series) + 0.4), name)


def contact_sheet_png(columns: Sequence[tuple[str, Bars]]) -> bytes:
    """Up to nine columns, three a row: what the reference has as bars, what is now as a line."""
    import matplotlib

    rows = max(1, -(-len(columns) // 3))
    sink = io.BytesIO()
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = _figure((7.2, 1.55 * rows))
        axes = np.atleast_1d(figure.subplots(rows, 3)).ravel()
        for one, (title, bars) in zip(axes, columns, strict=False):
            _draw_bars(one, bars)
            _label_axis(one, bars, few=True)
            one.set_title(_short(title, 30), fontsize=8, color=TEXT, loc="left", pad=3)
            _style(one)
            one.tick_params(labelsize=6)
        for one in axes[len(columns) :]:
            one.set_axis_off()
        for artist in figure.findobj():
            _recolour(artist)
        figure.savefig(sink, format="png", dpi=110, facecolor="white", metadata={"Software": None})
    return sink.getvalue()


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def sparkline(values: Sequence[float | None]) -> str:
    """A line of blocks, from 0 to the greatest value; a gap where there is none."""
    known = [abs(value) for value in values if value is not None]
    greatest = max(known, default=0.0)
    return "".join(
        " "
        if value is None
        else SPARKS[round(abs(value) / greatest * (len(SPARKS) - 1))]
        if greatest
        else SPARKS[0]
        for value in values
    )


def show_number(value: float, *, is_time: bool = False) -> str:
    """On an axis; a moment in seconds as a date."""
    if is_time:
        try:
            return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d}"
        except (ValueError, OverflowError, OSError):
            pass
    if abs(value) < np.finfo(np.float64).tiny:
        return "0"  # the edge beside it
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"


def _draw_bars(axes: Any, bars: Bars) -> None:
    if bars.edges is not None:
        axes.stairs(bars.then * 100, bars.edges, fill=True, color=THEN)
        axes.stairs(bars.now * 100, bars.edges, color=NOW, linewidth=1.3)
    else:
        places = np.arange(len(bars.labels))
        axes.bar(places - 0.2, bars.then * 100, width=0.4, color=THEN)
        axes.bar(places + 0.2, bars.now * 100, width=0.4, color=NOW)
    axes.set_ylabel("% of rows", fontsize=7.5, color=TEXT)
    axes.locator_params(axis="y", nbins=4)


def _label_axis(axes: Any, bars: Bars, *, few: bool = False) -> None:
    if bars.edges is None:
        texts = [_short(label, 6 if few else 10) for label in bars.labels]
        axes.set_xticks(
            range(len(texts)), texts, rotation=45 if max(map(len, texts)) > 2 else 0, ha="right"
        )
        return
    inner = bars.edges[1:-1]
    places = inner[[0, len(inner) // 2, -1]]
    axes.set_xticks(places, [show_number(float(place), is_time=bars.is_time) for place in places])


def _alone(numbers: Floats) -> npt.NDArray[np.int64]:
    """Values between gaps, which no line shows, and the last one."""
    known = np.concatenate([[False], np.isfinite(numbers), [False]])
    is_alone = known[1:-1] & ~known[:-2] & ~known[2:]
    is_alone[-1] = known[-2]
    return np.flatnonzero(is_alone)


def _short(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure  # costs half a second, which only a report pays

    return Figure(figsize=size, layout="constrained")


def _svg(draw: Callable[[Any], None], size: tuple[float, float], name: str) -> str:
    import matplotlib

    options: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that its own font does not have
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
    return _lean(sink.getvalue())


def _style(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(labelsize=7.5, colors=TEXT, color=LINE, length=2)


def _recolour(artist: Any) -> None:
    """A picture has no style sheet: its colours are fixed."""
    from matplotlib.colors import to_hex

    for name in ("color", "facecolor", "edgecolor"):
        get, set_to = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
        if get is None or set_to is None:
            continue
        try:
            found = to_hex(get())
        except ValueError:  # a list of several colours, or none
            continue
        if found in PNG_COLOURS:
            set_to(PNG_COLOURS[found])


def _lean(svg: str) -> str:
    """What a page needs of matplotlib's SVG, a third of its size: no prologue, no empty groups, short paths."""
    svg = NO_XML.sub("\N{REPLACEMENT CHARACTER}", svg)
    root = ElementTree.fromstring(svg)  # noqa: S314 (matplotlib has just written it)
    used = {*re.findall(r"url\(#([^)]+)\)", svg), *re.findall(r'href="#([^"]+)"', svg)}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [*element.attrib]:
            value = element.attrib.pop(name)
            if name != "id" or value in used:
                element.attrib[name.rpartition("}")[2]] = value if name == "d" else _rounded(value)
        if "d" in element.attrib:
            element.attrib["d"] = _short_path(element.attrib["d"])
    _unwrap(root)
    for name in ("version", "width", "height"):
        root.attrib.pop(name, None)
    root.attrib |= {"aria-hidden": "true", "focusable": "false"}
    found = ElementTree.tostring(root, encoding="unicode")
    for drawn, meant in COLOURS.items():
        found = found.replace(drawn, meant)
    found = re.sub(
        r"font-family: [^;\"]*; |; stroke-linejoin: miter|; stroke-linecap: square", "", found
    )
    return re.sub(r">\s+<", "><", found)


def _unwrap(element: Any) -> None:
    """Put what groups without attributes hold in their place; leave out what is never seen."""
    children = []
    for child in element:
        _unwrap(child)
        if child.tag == "g" and not child.attrib:
            children += list(child)
        elif child.tag not in ("metadata", "style") and child.attrib.get("style") != "fill: none":
            children.append(child)
    element[:] = children


def _rounded(text: str) -> str:
    """To one decimal."""
    return re.sub(r"\.0\b", "", re.sub(r"(\d+\.\d)\d+", r"\1", text))


def _short_path(path: str) -> str:
    """Straight lines along an axis say one number, as those of bars do."""
    parts: list[str] = []
    x = y = ""
    for command, first, second in re.findall(r"([MLz])(?: (\S+) (\S+))?", _rounded(path)):
        if command == "L" and first == x:
            parts.append(f"V{second}")
        elif command == "L" and second == y:
            parts.append(f"H{first}")
        else:
            parts.append(f"{command}{first} {second}".rstrip())
        x, y = (first, second) if first else (x, y)
    return "".join(parts)
