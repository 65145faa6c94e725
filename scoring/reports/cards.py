"""One column on the page of a report: its plot, its figures, in numbers and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightscore.drift.series import THRESHOLDS
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.table import ColumnProfile
from nightscore.reports.plots import Bars, bars_of, histogram_svg, show_number
from nightscore.schemas.drift import Severity
from nightscore.schemas.manifest import FindingRecord

SHOWN_CATEGORIES = 12
SHOWN_STATISTICS = (
    "psi_adjusted",
    "psi",
    "ks",
    "linf",
    "js_distance",
    "wasserstein_over_std",
    "chi2_qvalue",
    "out_of_range_rate",
    "unseen_category_rate",
    "distinct_ratio",
    "null_rate_difference",
    "impact",
)
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
class Card:
    """One column on the page."""

    name: str
    role: str
    severity: Severity
    finding: FindingRecord | None
    svg: str
    alternative: str
    """What the plot shows, in words."""
    facts: list[tuple[str, str, str]]
    """Name, then, now."""
    categories: list[tuple[str, str, str]]
    statistics: list[tuple[str, list[str], str]]
    """Name, value by reference, threshold."""
    error: str = ""

    @property
    def sign(self) -> str:
        return SIGNS[self.severity]

    @property
    def anchor(self) -> str:
        return f"{self.role}-{self.name}"


def make_card(
    now: ColumnProfile,
    then: ColumnProfile | None,
    severity: Severity,
    finding: FindingRecord | None,
    statistics: Statistics,
    references: Sequence[str],
    *,
    is_drawn: bool,
) -> Card:
    """A column as it is and as it was; drawn only if `is_drawn`, where there is something to compare it with."""
    bars = bars_of(then, now) if then is not None and is_drawn else None
    return Card(
        name=now.name,
        role=now.role.replace("_", " "),
        severity=severity,
        finding=finding,
        svg=histogram_svg(bars, f"{now.role} {now.name}") if bars else "",
        alternative=_in_words(bars) if bars else "",
        facts=_column_facts(then, now),
        categories=_category_rows(then, now),
        statistics=[
            (name, values, in_figures(THRESHOLDS.get(name)))
            for name in SHOWN_STATISTICS
            if any(
                values := [
                    in_figures(statistics.get(reference, {}).get(name)) for reference in references
                ]
            )
        ],
    )


def _in_words(bars: Bars) -> str:
    """The greatest changes: what a reader of the plot sees first."""
    change = bars.now - bars.then
    places = sorted(range(len(change)), key=lambda place: -abs(change[place]))[:3]
    edges = bars.edges
    texts = []
    for place in places:
        if edges is None:
            where = bars.labels[place]
        else:
            ends = [
                show_number(float(edges[place + side]), is_time=bars.is_time) for side in (0, 1)
            ]
            where = f"{ends[0]} to {ends[1]}"
            if place in (0, len(change) - 1):
                where = f"below {ends[1]}" if place == 0 else f"above {ends[0]}"
        texts.append(f"{where}: {bars.then[place]:.1%} then, {bars.now[place]:.1%} now")
    return "Share of rows. " + "; ".join(texts)


def _column_facts(then: ColumnProfile | None, now: ColumnProfile) -> list[tuple[str, str, str]]:
    sides = [_side_facts(column) for column in (then, now)]
    names = dict.fromkeys([*sides[1], *sides[0]])
    return [(name, sides[0].get(name, ""), sides[1].get(name, "")) for name in names]


def _side_facts(column: ColumnProfile | None) -> dict[str, str]:
    if column is None:
        return {}
    profile = column.profile
    n_rows = max(profile.n_rows, 1)
    facts = {
        "type": column.type,
        "rows": f"{profile.n_rows:,}",
        "null": f"{profile.n_null / n_rows:.2%}",
    }
    is_time = column.type.startswith(("date", "timestamp"))
    scale = 86_400.0 if column.type.startswith("date") else 1.0
    if isinstance(profile, NumberProfile):
        odd = profile.n_nan + profile.n_high + profile.n_low
        facts |= {"NaN or infinite": f"{odd / n_rows:.2%}"} if odd else {}
        if profile.n_finite:
            places = {"least": profile.least, "mean": profile.mean, "greatest": profile.greatest}
            facts |= {
                name: show_number(value * scale, is_time=is_time) for name, value in places.items()
            }
            facts["standard deviation"] = f"{profile.std:.4g}"
    if profile.n_distinct == profile.n_distinct:
        facts["distinct"] = f"{profile.n_distinct:,.0f}"
    return {name: text for name, text in facts.items() if text}


def _category_rows(then: ColumnProfile | None, now: ColumnProfile) -> list[tuple[str, str, str]]:
    after = now.profile
    before = then.profile if then is not None else None
    if not isinstance(after, CategoryProfile):
        return []
    other = before.counts if isinstance(before, CategoryProfile) else after.counts.__class__()
    n, m = max(other.total(), 1), max(after.counts.total(), 1)
    names = sorted(
        {*after.counts, *other},
        key=lambda name: (-abs(after.counts[name] / m - other[name] / n), name),
    )
    return [
        (name, f"{other[name] / n:.2%}", f"{after.counts[name] / m:.2%}")
        for name in names[:SHOWN_CATEGORIES]
    ]


def in_figures(value: float | None) -> str:
    """Four digits; nothing for what is not known."""
    return "" if value is None else f"{value:.4g}"
