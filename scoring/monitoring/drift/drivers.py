"""Which segments drive a column's drift: by having more rows, or by having other values."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import NumberProfile, Profile
from nightscore.profiles.table import ColumnProfile, Key, Role
from nightscore.schemas.manifest import DriverRecord

MAX_DRIVERS = 3
LEAST_SHARE = 0.1
"""Of the difference; smaller parts explain nothing."""
LEAST_EXCESS = 1.5
"""Times the segment's share of the rows, for what is within it. A shift of all rows alike is driven
by no segment."""

Profiles = Mapping[Key, ColumnProfile]
Sides = tuple[Floats, Floats]
"""Of the reference, and now; shape (segments, bins)."""


def find_drivers(
    reference: Profiles, current: Profiles, role: Role, name: str
) -> tuple[DriverRecord, ...]:
    """The segments with the greatest parts in a column's total variation distance, greatest first.

    Let p, q be the shares of a segment in the reference and now, P, Q its distributions, and w half
    the sign of the whole column's difference in each bin. The distance is the sum over the segments
    of

        (q - p) * w.(P + Q)/2   (mix)   +   (p + q)/2 * w.(Q - P)   (within)

    Mix terms are taken against the whole column, which changes no sum. Several segment columns are
    each a split of their own.

    Source: E. Kitagawa, "Components of a difference between two rates" (1955).
    """
    drivers: list[DriverRecord] = []

    for segments in _split_by_column({*reference, *current}, role, name):
        before = [reference.get((role, name, segment)) for segment in segments]
        now = [current.get((role, name, segment)) for segment in segments]
        counts = _counts(before, now)
        if counts is not None:
            drivers += _decompose(segments, counts)

    drivers = [driver for driver in drivers if abs(driver.share) >= LEAST_SHARE]
    drivers.sort(key=lambda driver: (-abs(driver.share), driver.segment, driver.kind))
    return tuple(drivers[:MAX_DRIVERS])


def _split_by_column(keys: Iterable[Key], role: Role, name: str) -> list[list[str]]:
    """Segments of a column, such as `country=DE`, in one sorted list for each segment column."""
    segments = set()
    for key_role, key_name, segment in keys:
        if segment and (key_role, key_name) == (role, name):
            segments.add(segment)

    by_column: dict[str, list[str]] = {}
    for segment in sorted(segments):
        segment_column, _, _ = segment.partition("=")
        by_column.setdefault(segment_column, []).append(segment)

    return list(by_column.values())


def _decompose(labels: list[str], counts: Sides) -> list[DriverRecord]:
    before, now = counts
    n, m = before.sum(), now.sum()
    if not n or not m:
        return []

    overall_before, overall_now = before.sum(axis=0) / n, now.sum(axis=0) / m
    weights = np.sign(overall_now - overall_before) / 2
    distance = float(weights @ (overall_now - overall_before))
    if not distance:
        return []

    p, q = before.sum(axis=1) / n, now.sum(axis=1) / m
    inside_before, inside_now = _shares(before, now), _shares(now, before)
    middle = (inside_before + inside_now) / 2 - (overall_before + overall_now) / 2
    mix = (q - p) * (middle @ weights) / distance
    within = (p + q) / 2 * ((inside_now - inside_before) @ weights) / distance

    is_special = np.abs(within) >= LEAST_EXCESS * (p + q) / 2
    special = np.where(is_special, within, 0.0)

    return [
        *_records(labels, "mix", mix),
        *_records(labels, "within", special),
    ]


def _records(labels: Sequence[str], kind: str, shares: Floats) -> Iterable[DriverRecord]:
    for label, share in zip(labels, shares, strict=True):
        yield DriverRecord.model_validate({"segment": label, "kind": kind, "share": float(share)})


def _shares(counts: Floats, others: Floats) -> Floats:
    """Shares of each segment's rows in each bin.

    A segment without rows has the other side's shares: it came or went as it is.
    """
    used = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, others)
    totals = used.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(used, totals, out=np.zeros_like(used), where=totals > 0)
    return shares


def _counts(
    before: Sequence[ColumnProfile | None], now: Sequence[ColumnProfile | None]
) -> Sides | None:
    """Rows of each segment in each bin; None: the segments cannot be compared.

    Missing and non-finite values have a bin of their own.
    """
    profiles = [column.profile for column in (*before, *now) if column is not None]
    first = profiles[0]
    if isinstance(first, NumberProfile):
        for profile in profiles:
            if not isinstance(profile, NumberProfile) or not profile.edges.equals(first.edges):
                return None

        n_bins = len(first.counts)
        return _number_counts(before, n_bins), _number_counts(now, n_bins)

    places = _category_places(profiles)
    if places is None:
        return None

    return _category_counts(before, places), _category_counts(now, places)


def _category_places(profiles: Sequence[Profile]) -> dict[str, int] | None:
    """Category to its bin; None: some profile has no categories."""
    names: set[str] = set()
    for profile in profiles:
        if isinstance(profile, NumberProfile) or profile.is_cut:
            return None
        names.update(profile.counts)
    return {name: place for place, name in enumerate(sorted(names))}


def _number_counts(columns: Sequence[ColumnProfile | None], n_bins: int) -> Floats:
    counts = np.zeros((len(columns), n_bins + 1))
    for row, column in enumerate(columns):
        profile = column.profile if column is not None else None
        if isinstance(profile, NumberProfile):
            counts[row, :-1] = profile.counts
            counts[row, -1] = profile.n_rows - profile.n_finite
    return counts


def _category_counts(columns: Sequence[ColumnProfile | None], places: Mapping[str, int]) -> Floats:
    counts = np.zeros((len(columns), len(places) + 1))
    for row, column in enumerate(columns):
        profile = column.profile if column is not None else None
        if profile is None or isinstance(profile, NumberProfile):
            continue
        for name, count in profile.counts.items():
            counts[row, places[name]] = count
        counts[row, -1] = profile.n_null
    return counts
