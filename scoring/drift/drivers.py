"""Which segments drive a column's drift: because there are more of their rows, or because these have other values."""

from collections.abc import Mapping

import numpy as np

from nightscore.profiles.bins import Floats
from nightscore.profiles.profile import NumberProfile
from nightscore.profiles.table import ColumnProfile, Key, Role
from nightscore.schemas.manifest import DriverRecord

MAX_DRIVERS = 3
LEAST_SHARE = 0.1
"""Of the difference; smaller parts explain nothing."""
LEAST_EXCESS = 1.5
"""Times its share of the rows, for what is within a segment: a shift of all rows alike is driven by none."""


def find_drivers(
    then: Mapping[Key, ColumnProfile], now: Mapping[Key, ColumnProfile], role: Role, name: str
) -> tuple[DriverRecord, ...]:
    """The segments with the greatest parts in the total variation distance of a column, the greatest first.

    With p, q the shares of a segment then and now, P, Q its distributions and w half the sign of the whole column's
    difference in each bin, the distance is the sum over the segments of

        (q - p) * w.(P + Q)/2   (mix)   +   (p + q)/2 * w.(Q - P)   (within)

    Source: E. Kitagawa, "Components of a difference between two rates" (1955). Mix terms are taken against the whole
    column, which changes no sum. Several segment columns are each a split of their own.
    """
    found = []
    labels = sorted({key[2] for key in {*then, *now} if key[:2] == (role, name) and key[2]})
    for column in sorted({label.partition("=")[0] for label in labels}):
        mine = [label for label in labels if label.partition("=")[0] == column]
        before = [then.get((role, name, label)) for label in mine]
        after = [now.get((role, name, label)) for label in mine]
        found += _decompose(mine, _counts(before, after))
    found.sort(key=lambda driver: (-abs(driver.share), driver.segment, driver.kind))
    return tuple(driver for driver in found if abs(driver.share) >= LEAST_SHARE)[:MAX_DRIVERS]


def _decompose(labels: list[str], counts: tuple[Floats, Floats] | None) -> list[DriverRecord]:
    if counts is None:
        return []
    before, after = counts
    n, m = before.sum(), after.sum()
    if not n or not m:
        return []
    p, q = before.sum(axis=1) / n, after.sum(axis=1) / m
    overall_then, overall_now = before.sum(axis=0) / n, after.sum(axis=0) / m
    weights = np.sign(overall_now - overall_then) / 2
    distance = float(weights @ (overall_now - overall_then))
    if not distance:
        return []
    inside_then, inside_now = _shares(before, after), _shares(after, before)
    middle = (inside_then + inside_now) / 2 - (overall_then + overall_now) / 2
    mix = (q - p) * (middle @ weights) / distance
    within = (p + q) / 2 * ((inside_now - inside_then) @ weights) / distance
    parts = [*zip(labels, ["mix"] * len(labels), mix, strict=True)]
    of_its_own = np.where(np.abs(within) >= LEAST_EXCESS * (p + q) / 2, within, 0.0)
    parts += [*zip(labels, ["within"] * len(labels), of_its_own, strict=True)]
    return [
        DriverRecord(segment=s, kind="mix" if k == "mix" else "within", share=float(v))
        for s, k, v in parts
    ]


def _shares(counts: Floats, others: Floats) -> Floats:
    """Of each segment's rows in each bin; of a segment that has none, the other side's: it came or went as it is."""
    used = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, others)
    totals = used.sum(axis=1, keepdims=True)
    found: Floats = np.divide(used, totals, out=np.zeros_like(used), where=totals > 0)
    return found


def _counts(
    before: list[ColumnProfile | None], after: list[ColumnProfile | None]
) -> tuple[Floats, Floats] | None:
    """Rows of each segment in each bin, what is missing or not finite in one of its own; None: not comparable."""
    profiles = [column.profile for column in (*before, *after) if column is not None]
    first = profiles[0]
    if isinstance(first, NumberProfile):
        if not all(isinstance(p, NumberProfile) and p.edges.equals(first.edges) for p in profiles):
            return None
        bins: dict[str | int | None, int] = {index: index for index in range(len(first.counts))}
    else:
        if any(isinstance(p, NumberProfile) or p.is_cut for p in profiles):
            return None
        names = sorted(
            {name for p in profiles if not isinstance(p, NumberProfile) for name in p.counts}
        )
        bins = {name: index for index, name in enumerate(names)}
    return _matrix(before, bins), _matrix(after, bins)


def _matrix(columns: list[ColumnProfile | None], bins: Mapping[str | int | None, int]) -> Floats:
    found = np.zeros((len(columns), len(bins) + 1))
    for row, column in enumerate(columns):
        if column is None:
            continue
        profile = column.profile
        if isinstance(profile, NumberProfile):
            found[row, :-1] = profile.counts
            found[row, -1] = profile.n_rows - profile.n_finite
        else:
            for name, count in profile.counts.items():
                found[row, bins[name]] = count
            found[row, -1] = profile.n_null
    return found
