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
    places: dict[int, int] = {}
    profiles: list[NumberProfile] = []
    sides: tuple[list[int], list[int]] = ([], [])

    for pair in pairs:
        for side, profile in zip(sides, (pair.reference, pair.current), strict=True):
            assert isinstance(profile, NumberProfile)  # noqa: S101
            place = places.setdefault(id(profile), len(profiles))
            if place == len(profiles):
                profiles.append(profile)
            side.append(place)

    folded = fold_profiles(profiles)
    reference, current = sides
    edges = np.stack([profile.edges.fine for profile in profiles])

    return ColumnGroup(
        type="number",
        pairs=pairs,
        bins=(folded.fine[reference], folded.fine[current]),
        coarse_bins=(folded.deciles[reference], folded.deciles[current]),
        edges=edges[reference],
        sums=(folded.sums[reference], folded.sums[current]),
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
class FoldedProfiles:
    """Rows and sums by fine bin, and rows by decile; shape (number of profiles, bins)."""

    fine: Counts
    sums: Floats
    deciles: Counts


def fold_profiles(profiles: Sequence[NumberProfile]) -> FoldedProfiles:
    """Profiles with equally many fine bins and deciles, folded to these.

    The bins of all profiles are laid end to end, so that each sum is one call.

    Raises:
        ValueError: A profile has more or fewer counts than bins: it is damaged.
    """
    sizes = [len(profile.edges.both) + 1 for profile in profiles]
    if [len(profile.counts) for profile in profiles] != sizes:
        raise ValueError("a profile has another number of counts than of bins")

    first = np.cumsum([0, *sizes[:-1]])[:, np.newaxis]
    fine = first + np.stack([profile.edges.starts[0] for profile in profiles])
    deciles = first + np.stack([profile.edges.starts[1] for profile in profiles])

    counts = np.concatenate([profile.counts for profile in profiles])
    sums = np.concatenate([profile.sums for profile in profiles])
    with np.errstate(over="ignore", invalid="ignore"):
        folded_sums = np.add.reduceat(sums, fine.ravel())

    return FoldedProfiles(
        np.add.reduceat(counts, fine.ravel()).reshape(fine.shape),
        folded_sums.reshape(fine.shape),
        np.add.reduceat(counts, deciles.ravel()).reshape(deciles.shape),
    )


def _with_others(profile: CategoryProfile, names: Sequence[str]) -> Counts:
    """Counts of these categories, and of all others together."""
    counts = _counts(profile, names)
    others = profile.counts.total() - counts.sum()
    return np.append(counts, [[others]], axis=1)


def _counts(profile: CategoryProfile, names: Sequence[str]) -> Counts:
    return np.array([[profile.counts.get(name, 0) for name in names]], np.int64)
