"""One column on a report's page: its plot, its figures, in numbers and in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.labels import show_number, show_value
from nightscore.monitoring.drift.statistics.shared.statistic import Figure, Statistic
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.table import ColumnProfile
from nightscore.reports.bars import Bars, bars_of
from nightscore.reports.plots import histogram_svg
from nightscore.schemas.drift import Severity
from nightscore.schemas.manifest import FindingRecord

SHOWN_CATEGORIES = 12
SHOWN_CHANGES = 3
"""Bins in the words for a plot."""
SIGNS: dict[Severity, str] = {
    "critical": "■",
    "warning": "▲",
    "info": "●",
    "ok": "·",
    "insufficient data": "–",
}

Statistics = Mapping[str, Mapping[str, float | None]]
"""Reference to statistic to value."""


@dataclass(frozen=True, slots=True)
class FactRow:
    """One figure of a column, on both sides."""

    name: str
    reference: str
    current: str


@dataclass(frozen=True, slots=True)
class StatisticRow:
    """One statistic of a column."""

    title: str
    meaning: str
    values: list[str]
    """By reference."""
    thresholds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSides:
    """A column as it is now and as it was, and what is known of the difference."""

    current: ColumnProfile
    reference: ColumnProfile | None
    severity: Severity
    finding: FindingRecord | None
    statistics: Statistics
    references: Sequence[str]
    """In the order of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One column on the page."""

    name: str
    role: str
    severity: Severity
    finding: FindingRecord | None
    svg: str
    alternative: str
    """What the plot shows, in words."""
    facts: list[FactRow]
    categories: list[FactRow]
    statistics: list[StatisticRow]

    @property
    def sign(self) -> str:
        """A symbol for the severity: colours alone do not tell everybody."""
        return SIGNS[self.severity]

    @property
    def anchor(self) -> str:
        """Target of links to the card."""
        return f"{self.role}-{self.name}"


def make_card(sides: ColumnSides, *, is_drawn: bool) -> Card:
    """The card of a column; drawn only if `is_drawn`, where there is something to compare with."""
    current, reference = sides.current, sides.reference
    bars = bars_of(reference, current) if reference is not None and is_drawn else None

    return Card(
        name=current.name,
        role=current.role.replace("_", " "),
        severity=sides.severity,
        finding=sides.finding,
        svg=histogram_svg(bars, f"{current.role} {current.name}") if bars else "",
        alternative=_in_words(bars) if bars else "",
        facts=_column_facts(reference, current),
        categories=_category_rows(reference, current),
        statistics=_statistic_rows(sides),
    )


def _in_words(bars: Bars) -> str:
    """The greatest changes: what a reader of the plot sees first."""
    places = sorted(range(len(bars.change)), key=lambda place: -abs(bars.change[place]))
    texts = []

    for place in places[:SHOWN_CHANGES]:
        shares = f"{bars.reference[place]:.1%} in the reference, {bars.current[place]:.1%} now"
        texts.append(f"{bars.bin_label(place)}: {shares}")

    return "Share of rows. " + "; ".join(texts)


def _statistic_rows(sides: ColumnSides) -> list[StatisticRow]:
    rows = []
    for figure in statistic_catalog.shown_in("page"):
        values = []
        for reference in sides.references:
            value = sides.statistics.get(reference, {}).get(figure.name)
            values.append(figure.show(value))

        if any(values):
            thresholds = _thresholds(figure, sides.current)
            rows.append(StatisticRow(figure.title, figure.meaning, values, thresholds))

    return rows


def _thresholds(figure: Figure, column: ColumnProfile) -> str:
    """In words; empty where the statistic grades no column of this type."""
    if isinstance(figure, Statistic) and column.kind not in figure.graded_types:
        return ""
    return figure.thresholds


def _column_facts(reference: ColumnProfile | None, current: ColumnProfile) -> list[FactRow]:
    reference_facts = {} if reference is None else _side_facts(reference)
    current_facts = _side_facts(current)
    rows = []

    for name in dict.fromkeys([*current_facts, *reference_facts]):
        rows.append(FactRow(name, reference_facts.get(name, ""), current_facts.get(name, "")))

    return rows


def _side_facts(column: ColumnProfile) -> dict[str, str]:
    profile = column.profile
    n_rows = max(profile.n_rows, 1)
    facts = {
        "type": column.type,
        "rows": f"{profile.n_rows:,}",
        "null": f"{profile.n_null / n_rows:.2%}",
    }

    if isinstance(profile, NumberProfile):
        facts |= _number_facts(profile, column.type, n_rows)

    # Only nan differs from itself: the number is not known.
    if profile.n_distinct == profile.n_distinct:
        facts["distinct"] = f"{profile.n_distinct:,.0f}"

    return {name: text for name, text in facts.items() if text}


def _number_facts(profile: NumberProfile, arrow_type: str, n_rows: int) -> dict[str, str]:
    facts = {}
    if profile.n_odd:
        facts["NaN or infinite"] = f"{profile.n_odd / n_rows:.2%}"
    if profile.n_finite:
        facts["least"] = show_value(profile.least, arrow_type)
        facts["mean"] = show_value(profile.mean, arrow_type)
        facts["greatest"] = show_value(profile.greatest, arrow_type)
        facts["standard deviation"] = show_number(profile.std, 4)
    return facts


def _category_rows(reference: ColumnProfile | None, current: ColumnProfile) -> list[FactRow]:
    """Shares of the categories that changed most."""
    if not isinstance(current.profile, CategoryProfile):
        return []

    current_shares = _shares(current)
    reference_shares = {} if reference is None else _shares(reference)
    changes: list[tuple[float, FactRow]] = []

    for name in {**current_shares, **reference_shares}:
        before, now = reference_shares.get(name, 0.0), current_shares.get(name, 0.0)
        changes.append((abs(now - before), FactRow(name, f"{before:.2%}", f"{now:.2%}")))

    changes.sort(key=lambda change: (-change[0], change[1].name))
    return [row for _, row in changes[:SHOWN_CATEGORIES]]


def _shares(column: ColumnProfile) -> dict[str, float]:
    profile = column.profile
    counts = profile.counts if isinstance(profile, CategoryProfile) else Counter[str]()
    total = max(counts.total(), 1)
    return {name: count / total for name, count in counts.items()}
