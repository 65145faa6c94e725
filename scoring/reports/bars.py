"""A column's reference and current distribution as bars, ready to be drawn or put into words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightscore.monitoring.drift.labels import (
    digits_for,
    is_time,
    show_moment,
    show_number,
    to_seconds,
)
from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import CategoryProfile, NumberProfile
from nightscore.profiles.table import ColumnProfile
from nightscore.reports.ticks import SHORT_S, Tick, number_ticks, time_ticks

DISPLAY_BINS = 24
SHOWN_CATEGORIES = 10
OTHERS = "all others"
LEAST_EXTENT = 1e-12
"""Of the axis, as a share of its values: less is one value and its neighbours in float64."""
GREATEST = float(np.finfo(np.float64).max) / 8
"""An axis ends here, so that its length is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Shares of rows in the same bins, in the reference and now; 1 is all rows with a value."""

    reference: Floats
    current: Floats
    labels: tuple[str, ...] = ()
    """Of categories."""
    edges: Floats | None = None
    """Of numbers: ends of the bins on the axis. The outer bins hold all that is beyond."""
    is_time: bool = False
    """The edges are seconds since 1970, in UTC."""

    @property
    def change(self) -> Floats:
        """Of each bin's share."""
        return self.current - self.reference

    @property
    def ticks(self) -> list[Tick]:
        """Of the axis of numbers."""
        assert self.edges is not None  # noqa: S101
        low, high = float(self.edges[1]), float(self.edges[-2])
        if self.is_time:
            return time_ticks(low, high)
        return number_ticks(low, high)

    def bin_label(self, place: int) -> str:
        """One bin in words."""
        if self.edges is None:
            return self.labels[place]
        if place == 0:
            return f"below {self._edge_label(1)}"
        if place == len(self.reference) - 1:
            return f"above {self._edge_label(place)}"
        return f"{self._edge_label(place)} to {self._edge_label(place + 1)}"

    def _edge_label(self, place: int) -> str:
        assert self.edges is not None  # noqa: S101
        low, high, edge = self.edges[[1, -2, place]].tolist()
        if self.is_time:
            return show_moment(edge, with_time=high - low < SHORT_S)

        step = (high - low) / DISPLAY_BINS
        if abs(edge) < step / 1e6:
            return "0"  # what rounding left of it
        return show_number(edge, digits_for(low, high, step))


def bars_of(reference: ColumnProfile, current: ColumnProfile) -> Bars | None:
    """None where there is nothing to draw: no values, or two kinds."""
    before, now = reference.profile, current.profile
    if isinstance(before, NumberProfile) and isinstance(now, NumberProfile):
        return _number_bars(before, now, reference.type)
    if isinstance(before, CategoryProfile) and isinstance(now, CategoryProfile):
        return _category_bars(before, now)
    return None


def _category_bars(reference: CategoryProfile, current: CategoryProfile) -> Bars | None:
    n_reference = max(reference.counts.total(), 1)
    n_current = max(current.counts.total(), 1)

    def rank(name: str) -> tuple[float, str]:
        share = reference.counts[name] / n_reference + current.counts[name] / n_current
        return -share, name

    names = sorted(reference.counts + current.counts, key=rank)
    shown = names[:SHOWN_CATEGORIES]
    if not shown:
        return None

    has_others = len(names) > len(shown)
    return Bars(
        reference=_category_shares(reference, shown, has_others=has_others),
        current=_category_shares(current, shown, has_others=has_others),
        labels=(*shown, OTHERS) if has_others else tuple(shown),
    )


def _category_shares(profile: CategoryProfile, names: Sequence[str], *, has_others: bool) -> Floats:
    total = profile.counts.total()
    counts = [profile.counts[name] for name in names]
    if has_others:
        counts.append(total - sum(counts))
    return np.array(counts) / max(total, 1)


def _number_bars(reference: NumberProfile, current: NumberProfile, arrow_type: str) -> Bars | None:
    edges = reference.edges.both
    if not len(edges) or not reference.n_finite or not reference.edges.equals(current.edges):
        return None

    low, high = _extent(edges)
    inner = np.linspace(low, high, DISPLAY_BINS + 1)
    step = inner[1] - inner[0]
    ends = np.concatenate([[low - step], inner, [high + step]])

    return Bars(
        reference=_number_shares(reference, inner),
        current=_number_shares(current, inner),
        edges=ends * to_seconds(arrow_type),
        is_time=is_time(arrow_type),
    )


def _extent(edges: Floats) -> tuple[float, float]:
    """Where the axis begins and ends; around the value of a column that has only one."""
    low = max(float(edges[0]), -GREATEST)
    high = min(float(edges[-1]), GREATEST)
    if high - low > max(abs(low), abs(high)) * LEAST_EXTENT and high - low > 1e-300:
        return low, high
    margin = abs(high) / 10 or 1.0
    if abs(high) < 1e-300:
        high, margin = 0.0, 1.0
    return high - margin, high + margin


def _number_shares(profile: NumberProfile, inner: Floats) -> Floats:
    """Shares of the display bins, from the distribution function at the profile's edges."""
    if not profile.n_finite:
        return np.zeros(len(inner) + 1)
    # A spike has two edges side by side, where the function jumps.
    edges = np.clip(profile.edges.both, -GREATEST, GREATEST)
    share_below_edge = np.cumsum(profile.counts)[:-1] / profile.n_finite
    share_below = np.interp(inner, edges, share_below_edge, left=0.0)
    return np.diff(np.concatenate([[0.0], share_below, [1.0]]))
