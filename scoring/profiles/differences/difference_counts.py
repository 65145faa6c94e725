"""What is counted of the differences between two models. It is merged exactly, in any order."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.differences.delta_codes import N_CODES
from nightscore.profiles.differences.difference_spec import DifferenceSpec
from nightscore.profiles.differences.extreme_rows import DifferingRow, TopRows, most_differing
from nightscore.profiles.differences.group_counts import GroupCounts
from nightscore.profiles.differences.score_grid import ScoreGrid


@dataclass(slots=True, kw_only=True)
class Joint:
    """Sampled rows by the bins of both models' scores. One in n counts n times."""

    champion: ScoreGrid
    challenger: ScoreGrid
    rows: Counts
    """Shape (champion's bins, challenger's bins)."""

    def add(self, champion: Floats, challenger: Floats, weight: int) -> None:
        """Count rows by their scores, each as often as the weight says."""
        codes = self.champion.codes(champion) * self.challenger.n_bins
        codes += self.challenger.codes(challenger)
        counted = np.bincount(codes, minlength=self.rows.size)
        self.rows += weight * counted.reshape(self.rows.shape)

    def plus(self, other: "Joint") -> "Joint | None":
        """The counts of both. None: they are of other bins."""
        if (self.champion, self.challenger) != (other.champion, other.challenger):
            return None
        return Joint(
            champion=self.champion, challenger=self.challenger, rows=self.rows + other.rows
        )


@dataclass(slots=True, kw_only=True)
class DifferenceCounts:
    """Counts of the rows that both models have scored, and of those that one has refused."""

    score: str = ""
    """The prediction column that was compared; empty: see `DifferenceSpec.score`."""
    threshold: float | None = None
    classes: tuple[str, ...] = ()
    """Names of the classes, of models of several."""
    keys: tuple[str, ...] = ()

    n_rows: int = 0
    """Rows that both have scored."""
    n_not_compared: int = 0
    """Of these, rows without two finite scores."""
    n_refused_by_champion: int = 0
    """Rows that the champion alone has refused."""
    n_refused_by_challenger: int = 0
    n_refused_by_both: int = 0

    total: int = 0
    """The sum of the differences, challenger minus champion, as `exact_sum` gives it."""
    least: float = np.inf
    greatest: float = -np.inf
    deltas: Counts = field(default_factory=lambda: np.zeros(N_CODES, np.int64))
    """Rows by bin of their difference, shape (65536,)."""

    decisions: Counts = field(default_factory=lambda: np.zeros((2, 2), np.int64))
    """Rows by the champion's decision and the challenger's: 0 is negative, 1 positive."""
    confusion: Counts = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """Rows by the champion's class and the challenger's; the last place is no known class."""

    joint: Joint | None = None
    """None: not counted, or of other bins in one part than in another."""
    n_sampled: int = 0
    """Rows that were looked at for the joint counts and the groups. Without joint counts, an older
    version has stored 0."""
    champion_top: TopRows = field(default_factory=TopRows.empty)
    challenger_top: TopRows = field(default_factory=TopRows.empty)
    most: list[DifferingRow] = field(default_factory=list)
    """The rows that differ most, the farthest first."""

    groups: dict[str, GroupCounts | None] = field(default_factory=dict)
    """By column. None: parts of it have other bins."""
    champion_cpu_us: int = 0
    """CPU microseconds of workers, without the challengers'."""
    challenger_cpu_us: int = 0

    @classmethod
    def empty(cls, spec: DifferenceSpec) -> Self:
        """The counts of no rows."""
        names = spec.classes.names if spec.classes else ()
        n_classes = len(names) + 1 if names else 0
        counts = cls(
            score=spec.score,
            threshold=spec.threshold,
            classes=names,
            keys=spec.keys,
            confusion=np.zeros((n_classes, n_classes), np.int64),
        )

        champion, challenger = spec.champion_grid, spec.challenger_grid
        if champion is not None and challenger is not None:
            cells = np.zeros((champion.n_bins, challenger.n_bins), np.int64)
            counts.joint = Joint(champion=champion, challenger=challenger, rows=cells)

        counts.groups = {column.name: GroupCounts.empty(column) for column in spec.columns}
        return counts

    @property
    def n_compared(self) -> int:
        """Rows that have two finite scores."""
        return self.n_rows - self.n_not_compared

    def plus(self, other: "DifferenceCounts") -> "DifferenceCounts | None":
        """The counts of both. None: they compare other scores, classes, keys or thresholds."""
        if self._subject() != other._subject():
            return None

        both = DifferenceCounts(
            score=self.score, threshold=self.threshold, classes=self.classes, keys=self.keys
        )
        for name in ADDED:
            setattr(both, name, getattr(self, name) + getattr(other, name))

        both.least = min(self.least, other.least)
        both.greatest = max(self.greatest, other.greatest)

        if self.joint is not None and other.joint is not None:
            both.joint = self.joint.plus(other.joint)

        champion, challenger = other.champion_top, other.challenger_top
        both.champion_top = self.champion_top.plus(champion.scores, champion.hashes)
        both.challenger_top = self.challenger_top.plus(challenger.scores, challenger.hashes)
        both.most = most_differing(self.most + other.most)

        for name in dict.fromkeys([*self.groups, *other.groups]):
            both.groups[name] = _both_groups(name, self, other)
        return both

    def _subject(self) -> tuple[object, ...]:
        return self.score, self.threshold, self.classes, self.keys


ADDED = (
    "n_rows",
    "n_not_compared",
    "n_refused_by_champion",
    "n_refused_by_challenger",
    "n_refused_by_both",
    "total",
    "n_sampled",
    "deltas",
    "decisions",
    "confusion",
    "champion_cpu_us",
    "challenger_cpu_us",
)
"""Fields that are merged by addition."""


def _both_groups(name: str, one: DifferenceCounts, other: DifferenceCounts) -> GroupCounts | None:
    """The groups of a column that one or both have."""
    if name not in other.groups:
        return one.groups[name]
    if name not in one.groups:
        return other.groups[name]

    mine, more = one.groups[name], other.groups[name]
    return mine.plus(more) if mine is not None and more is not None else None
