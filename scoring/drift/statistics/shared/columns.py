"""What statistics are measured on: columns of equal shape, each beside its reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from nightscore.profiles.bins import Counts, Floats
from nightscore.profiles.profile import CategoryProfile, NumberProfile, Profile
from nightscore.schemas.drift import ColumnType

TOP_CATEGORIES = 20
"""Tests of significance want many rows a category: all others count as one."""

Sides = tuple[Counts, Counts]
"""Counts of the reference and of what is compared with it."""


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """One column: its reference and what is compared with it, over the same bins."""

    reference: Profile
    current: Profile
    arrow_type: str = ""
    """In the files; empty: not known."""

    @property
    def type(self) -> ColumnType:
        """Whether its values are numbers or categories."""
        return self.reference.kind

    @property
    def n_rows(self) -> tuple[int, int]:
        """Of both sides, missing values included."""
        return self.reference.n_rows, self.current.n_rows


@dataclass(slots=True, kw_only=True)
class ColumnGroup:
    """Columns of one type over equally many bins. Many cost little more than one."""

    type: ColumnType
    pairs: Sequence[ColumnPair]
    bins: Sides
    """Rows in each fine bin, or of each category; shape (number of columns, bins)."""
    coarse_bins: Sides
    """The same in deciles, or of the most frequent categories and all others together."""
    edges: Floats | None = None
    """Of the fine bins; None for categories, and so for `sums`."""
    sums: tuple[Floats, Floats] | None = None
    """Of the values in each fine bin."""
    measured: dict[str, Floats] = field(default_factory=dict)
    """What statistics have in common is computed once."""

    def once(self, name: str, compute: Callable[["ColumnGroup"], Floats]) -> Floats:
        """A result that several statistics use."""
        if name not in self.measured:
            self.measured[name] = np.asarray(compute(self))
        return self.measured[name]


def group_numbers(pairs: Sequence[ColumnPair]) -> ColumnGroup:
    """Columns of numbers with equally many bins."""
    # Several columns may share a reference, whose bins are summed once.
    folded: dict[int, _Folded] = {}
    sides: tuple[list[_Folded], list[_Folded]] = ([], [])
    edges = []

    for pair in pairs:
        for side, profile in zip(sides, (pair.reference, pair.current), strict=True):
            assert isinstance(profile, NumberProfile)  # noqa: S101
            if id(profile) not in folded:
                folded[id(profile)] = _fold(profile)
            side.append(folded[id(profile)])

        assert isinstance(pair.reference, NumberProfile)  # noqa: S101
        edges.append(pair.reference.edges.fine)

    reference, current = (_stack(side) for side in sides)
    return ColumnGroup(
        type="number",
        pairs=pairs,
        bins=(reference.fine, current.fine),
        coarse_bins=(reference.deciles, current.deciles),
        edges=np.stack(edges),
        sums=(reference.sums, current.sums),
    )


def group_category(pair: ColumnPair) -> ColumnGroup:
    """One column of categories: each column has categories of its own."""
    reference, current = pair.reference, pair.current
    assert isinstance(reference, CategoryProfile)  # noqa: S101
    assert isinstance(current, CategoryProfile)  # noqa: S101

    names = sorted({*reference.counts, *current.counts})
    by_frequency = sorted(reference.counts, key=lambda name: (-reference.counts[name], name))
    top = by_frequency[:TOP_CATEGORIES]

    return ColumnGroup(
        type="category",
        pairs=[pair],
        bins=(_counts(reference, names), _counts(current, names)),
        coarse_bins=(_with_others(reference, top), _with_others(current, top)),
    )


@dataclass(frozen=True, slots=True)
class _Folded:
    """Rows and sums by fine bin, rows by decile."""

    fine: Counts
    sums: Floats
    deciles: Counts


def _fold(profile: NumberProfile) -> _Folded:
    edges = profile.edges
    fine, deciles = _starts(edges.both, edges.fine), _starts(edges.both, edges.deciles)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(profile.sums, fine)
    return _Folded(
        np.add.reduceat(profile.counts, fine), sums, np.add.reduceat(profile.counts, deciles)
    )


def _stack(side: Sequence[_Folded]) -> _Folded:
    return _Folded(
        np.stack([one.fine for one in side]),
        np.stack([one.sums for one in side]),
        np.stack([one.deciles for one in side]),
    )


def _starts(edges: Floats, chosen: Floats) -> Counts:
    """Where the bins between `chosen` begin among the bins between all edges."""
    starts = np.zeros(len(chosen) + 1, np.int64)
    starts[1:] = edges.searchsorted(chosen) + 1
    return starts


def _with_others(profile: CategoryProfile, names: Sequence[str]) -> Counts:
    """Counts of these categories, and of all others together."""
    counts = _counts(profile, names)
    others = profile.counts.total() - counts.sum()
    return np.append(counts, [[others]], axis=1)


def _counts(profile: CategoryProfile, names: Sequence[str]) -> Counts:
    return np.array([[profile.counts.get(name, 0) for name in names]], np.int64)
