"""The page of a report: one HTML file that runs no script and loads nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from nightscore.monitoring.drift import statistic_catalog
from nightscore.monitoring.drift.findings import counted
from nightscore.monitoring.performance.estimates.wording import CONCEPT_DRIFT
from nightscore.process import installed_version
from nightscore.reports.cards import SIGNS, Card
from nightscore.reports.outcomes_section import OutcomesSection
from nightscore.reports.performance_plot import PerformancePlot
from nightscore.reports.trends import HeatMap, Trend
from nightscore.schemas.drift import Severity
from nightscore.schemas.manifest import FindingRecord
from nightscore.schemas.text import printable

MAX_PLOTS = 30
"""Columns that are drawn, the most severe first: a plot takes about 8 KB, and a page should stay
below 400 KB."""


@dataclass(slots=True, kw_only=True)
class Page:
    """All that the template shows."""

    title: str
    verdict: Severity
    headline: str
    steps: list[str]
    """What to do first."""
    facts: list[tuple[str, str]]
    references: list[str]
    columns: list[Card]
    findings: list[FindingRecord] = field(default_factory=list)
    heat: HeatMap = field(default_factory=lambda: HeatMap([], []))
    trends: list[Trend] = field(default_factory=list)
    performance: list[PerformancePlot] = field(default_factory=list)
    """Estimates against what came true. Empty: neither is known."""
    outcomes: OutcomesSection | None = None
    """What came true of the run. None: it was not evaluated."""
    differences: Sequence[object] = field(default_factory=list)
    """A `DifferenceSection` for each challenger."""
    notes: list[str] = field(default_factory=list)
    unplotted: int = 0
    """Columns without a plot."""

    @property
    def sign(self) -> str:
        """A symbol for the verdict."""
        return SIGNS[self.verdict]


def render(page: Page) -> str:
    """The page as HTML."""
    return render_template(
        "report.html",
        page=page,
        counted=counted,
        figures=statistic_catalog.shown_in("page"),
    )


def render_template(name: str, **values: object) -> str:
    """A page as HTML.

    Args:
        name: Of the template beside this module.
        values: That it shows.
    """
    from jinja2 import Environment, PackageLoader  # only a report pays for it

    environment = Environment(
        loader=PackageLoader("nightscore", "reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )

    environment.filters["code"] = _with_code
    template = environment.get_template(name)
    version = installed_version("nightscore")

    return template.render(version=version, signs=SIGNS, concept_drift=CONCEPT_DRIFT, **values)


def _printable(value: object) -> object:
    """Text from outside drives no terminal either, should one show the page's source."""
    if type(value) is str:
        return printable(value)
    return value


def _with_code(text: str) -> str:
    """HTML of a text whose commands stand between backticks."""
    from markupsafe import Markup, escape

    escaped = str(escape(printable(text)))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 (escaped before)
