"""Places the scores of partitions into the bins of a baseline.

A partition that was counted over the baseline's own bins is placed exactly. Of one that has other
bins, as its run was before the baseline, or a threshold that is no edge, it is known between which
counts the truth lies: all estimates are made for the likely counts and for both extremes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nightscore.monitoring.performance.estimates.calibration import Calibration
from nightscore.profiles.bins import Floats
from nightscore.profiles.edges import Edges
from nightscore.profiles.profile import NumberProfile

LIKELY, LOW, HIGH = 0, 1, 2
"""Rows of arrays that hold cases: the likely one, and that with the lowest and highest scores."""
OTHER_BINS = "the scores were counted over other bins"
"""Why an estimate is approximate, if its placement is not exact."""


class Baseline(Protocol):
    """What a baseline says about scores, by bin."""

    @property
    def edges(self) -> Edges:
        """Edges of the bins."""
        ...

    @property
    def scores(self) -> Floats:
        """Mean scores, shape (bins,)."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Rows and sums of scores by bin of the baseline, each of shape (cases, bins)."""

    rows: Floats
    sums: Floats
    is_exact: bool
    """All cases are the same."""

    @property
    def n_rows(self) -> int:
        """Rows that have a score."""
        return round(float(self.rows[LIKELY].sum()))


def place(profile: NumberProfile, baseline: Baseline) -> Placement:
    """The scores of one partition."""
    if profile.edges.equals(baseline.edges):
        rows = np.tile(profile.counts.astype(np.float64), (3, 1))
        return Placement(rows, np.tile(profile.sums, (3, 1)), True)

    rows = _other_bins(profile, baseline.edges.both)
    return Placement(rows, rows * baseline.scores, False)


def add_up(placements: Iterable[Placement]) -> Placement:
    """The scores of several partitions together."""
    parts = list(placements)
    rows = np.sum([part.rows for part in parts], axis=0)
    sums = np.sum([part.sums for part in parts], axis=0)
    return Placement(rows, sums, all(part.is_exact for part in parts))


def predicted_positive(calibration: Calibration, threshold: float) -> Floats:
    """The share of each bin's rows that are predicted positive, shape (cases, bins).

    It is 0 or 1 but for a bin that the threshold divides: there the likely share is that of evenly
    spread scores, and the extremes are 0 and 1.
    """
    edges = calibration.edges.both
    n_below = int(np.searchsorted(edges, threshold, side="left"))
    is_edge = n_below < len(edges) and edges[n_below] == threshold

    shares = np.zeros((3, len(edges) + 1))
    shares[:, n_below + 1 :] = 1.0

    if not is_edge:
        least = edges[n_below - 1] if n_below else min(0.0, threshold)
        greatest = edges[n_below] if n_below < len(edges) else max(1.0, threshold)

        width = greatest - least
        shares[LIKELY, n_below] = (greatest - threshold) / width if width else 0.5
        shares[HIGH, n_below] = 1.0

    return shares


def _other_bins(profile: NumberProfile, edges: Floats) -> Floats:
    """Rows between these edges, which are not those of the profile."""
    own = profile.edges.both
    total = float(profile.n_finite)

    ends = np.concatenate([[profile.least], own, [profile.greatest]])
    ends = np.maximum.accumulate(np.clip(ends, profile.least, profile.greatest))
    below = np.concatenate([[0.0], np.cumsum(profile.counts)])

    # With an edge inside a bin, the bin's rows are all below it, or all above, or in between.
    likely = np.interp(edges, ends, below)

    after = np.searchsorted(ends, edges, side="left")
    most = np.append(below, total)[np.minimum(after, len(below))]
    before = np.searchsorted(ends, edges, side="right") - 1
    least = np.where(before >= 0, below[np.maximum(before, 0)], 0.0)

    most = np.maximum(most, likely)
    least = np.minimum(least, likely)

    # Scores are lowest if as many rows as can be are below each edge.
    cumulated = np.stack([likely, most, least])
    rows: Floats = np.diff(cumulated, axis=1, prepend=0.0, append=total)
    return rows
