"""How a challenger differs from the champion, as a section of a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nightscore.monitoring.decisions.wording import describe_details, describe_standing
from nightscore.monitoring.differences.wording import (
    describe_difference,
    describe_sample,
    show_group,
    show_key,
    show_part,
)
from nightscore.profiles.differences.difference_counts import DifferenceCounts
from nightscore.reports.difference_plots import bars_svg, deltas_svg, group_bars, scores_svg
from nightscore.reports.page import render_template
from nightscore.reports.plots import Line, trend_svg
from nightscore.schemas.comparison import ComparisonRecord
from nightscore.schemas.difference import DifferenceRecord, GroupRecord, KeyRecord

SCORES_LEGEND = (
    "Rows by both models' scores: the stronger the colour, the more rows. On the dashed line the "
    "scores are equal. Scores beyond the baselines' outer bins are at the edge."
)
LEAST_DAYS = 2
"""Partitions for a plot over time."""


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing."""

    title: str
    text: str
    svg: str
    alternative: str
    """What it shows, in words."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of rows in the table."""

    where: str
    share: str
    mean: str
    mean_absolute: str
    ratio: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row that differs."""

    key: str
    champion: str
    challenger: str
    difference: str


@dataclass(frozen=True, slots=True)
class DayRow:
    """A partition in the table."""

    partition: str
    n_rows: str
    to_positive: str
    to_negative: str
    mean: str
    mean_absolute: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceSection:
    """All that the section shows."""

    title: str
    sentences: list[str]
    standing: str = ""
    """Which of both is better, as far as that is known. Empty: nobody has asked."""
    standing_details: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    sample: str = ""
    """Which rows the groups are of. Empty: of all."""
    keys: list[KeyRow] = field(default_factory=list)
    days: list[DayRow] = field(default_factory=list)
    """The most different ones first."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Day:
    """The difference of a partition."""

    partition: str
    difference: DifferenceRecord


def draw_difference(
    title: str,
    found: DifferenceRecord | None,
    counts: DifferenceCounts | None,
    *,
    days: Sequence[Day] = (),
    notes: Sequence[str] = (),
    standing: ComparisonRecord | None = None,
) -> DifferenceSection:
    """The section about one challenger.

    Args:
        title: Which versions are compared.
        found: The difference of all rows. None: nothing was compared.
        counts: That it is from. None: they are gone, and nothing is drawn.
        days: The partitions, the most different ones first.
        notes: What is left out.
        standing: Where the decision between both stands. None: it is not shown.
    """
    section = DifferenceSection(title=title, sentences=[], notes=list(notes))
    if standing is not None:
        section = replace(
            section,
            standing=_capital(describe_standing(standing)),
            standing_details=list(describe_details(standing)),
        )
    if found is None:
        return section

    plots = []
    if counts is not None and counts.n_compared:
        plots += _plots(title, found, counts)

    plots += _over_time(title, days)

    return replace(
        section,
        sentences=describe_difference(found),
        plots=plots,
        groups=list(map(_group_row, found.groups)),
        sample=describe_sample(found),
        keys=list(map(_key_row, found.keys)),
        days=list(map(_day_row, days)) if len(days) >= LEAST_DAYS else [],
    )


def difference_page(title: str, sections: Sequence[DifferenceSection]) -> str:
    """The page of the differences of a job's challengers, as HTML."""
    standings = [f"{one.standing}." for one in sections if one.standing]
    if not any(one.sentences for one in sections):
        standings.append("Nothing was compared yet.")

    headline = " ".join(standings)
    return render_template("difference.html", title=title, headline=headline, sections=sections)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _plots(title: str, found: DifferenceRecord, counts: DifferenceCounts) -> list[Plot]:
    name = _name_of(title)
    plots = []

    if counts.joint is not None:
        plots.append(
            Plot(
                "Both scores",
                SCORES_LEGEND,
                scores_svg(counts.joint, f"scores-{name}"),
                "Rows by the champion's and the challenger's score",
            )
        )

    plots.append(
        Plot(
            "Differences",
            "Rows by challenger minus champion. The outermost bars hold all rows beyond.",
            deltas_svg(counts, f"deltas-{name}"),
            "Rows by the difference of their scores",
        )
    )

    bars = group_bars(counts, found)
    if bars and found.delta is not None:
        widest = max(bars, key=lambda bar: bar.mean_absolute)
        plots.append(
            Plot(
                "Where they differ",
                f"The mean size of the difference by {widest.column}. The dashed line is the mean "
                f"of all rows. {describe_sample(found)}".rstrip(),
                bars_svg(bars, found.delta.mean_absolute, f"groups-{name}"),
                f"Largest where {widest.column} is {widest.label}: {widest.mean_absolute:.3g}",
            )
        )
    return plots


def _over_time(title: str, days: Sequence[Day]) -> list[Plot]:
    if len(days) < LEAST_DAYS:
        return []

    ordered = sorted(days, key=lambda day: day.partition)
    lines = [Line("mean difference", list(map(_mean, ordered)))]

    flipped = list(map(_flipped, ordered))
    if None not in flipped:
        lines.append(Line("% of rows decided differently", flipped))

    partitions = [day.partition for day in ordered]
    svg = trend_svg(partitions, lines, f"days-{_name_of(title)}")
    text = "The newest partition is at the right."
    return [Plot("Over time", text, svg, "Differences by partition; figures are in the table")]


def _name_of(title: str) -> str:
    """Tells the drawings of a page apart."""
    return "".join(filter(str.isalnum, title))


def _mean(day: Day) -> float | None:
    delta = day.difference.delta
    return None if delta is None else delta.mean


def _flipped(day: Day) -> float | None:
    flips = day.difference.flips
    if flips is None:
        return None
    return 100 * (flips.n01 + flips.n10) / max(day.difference.n, 1)


def _group_row(group: GroupRecord) -> GroupRow:
    ratio = group.ratio
    return GroupRow(
        where=show_group(group),
        share=show_part(group.share),
        mean=f"{group.mean:+.3g}",
        mean_absolute=f"{group.mean_absolute:.3g}",
        ratio="" if ratio is None else f"{ratio:.1f}",
    )


def _key_row(row: KeyRecord) -> KeyRow:
    difference = row.challenger - row.champion
    return KeyRow(
        show_key(row), f"{row.champion:.4g}", f"{row.challenger:.4g}", f"{difference:+.4g}"
    )


def _day_row(day: Day) -> DayRow:
    flips, delta = day.difference.flips, day.difference.delta
    return DayRow(
        partition=day.partition,
        n_rows=f"{day.difference.n:,}",
        to_positive="" if flips is None else f"{flips.n01:,}",
        to_negative="" if flips is None else f"{flips.n10:,}",
        mean="" if delta is None else f"{delta.mean:+.3g}",
        mean_absolute="" if delta is None else f"{delta.mean_absolute:.3g}",
    )
