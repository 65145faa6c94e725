"""Counts of differences as text: between a worker and the driver, and in a file of a run."""

import base64
import gzip
import zlib
from typing import Self

import numpy as np

from nightscore.profiles.bins import Counts
from nightscore.profiles.differences.delta_codes import N_CODES
from nightscore.profiles.differences.difference_counts import ADDED, DifferenceCounts, Joint
from nightscore.profiles.differences.extreme_rows import N_MOST, N_TOP, DifferingRow, TopRows
from nightscore.profiles.differences.group_counts import (
    COUNTED,
    GroupColumn,
    GroupCounts,
    GroupKind,
)
from nightscore.profiles.differences.score_grid import MOST_BINS, ScoreGrid
from nightscore.schemas.base_record import Stored

MOST_BYTES = 1 << 26
"""Of the text that a file holds. A hundred times as much as any has."""
_ARRAYS = ("deltas", "decisions", "confusion")
_NUMBERS = tuple(name for name in ADDED if name not in (*_ARRAYS, "total"))
_SUMS = ("totals", "absolutes", "squares")


class _Sparse(Stored):
    """The places of an array that are not zero."""

    places: tuple[int, ...] = ()
    values: tuple[int, ...] = ()

    @classmethod
    def of(cls, array: Counts) -> Self:
        flat = array.ravel()
        places = np.flatnonzero(flat)
        return cls(places=tuple(places.tolist()), values=tuple(flat[places].tolist()))

    def to_array(self, *shape: int) -> Counts:
        array = np.zeros(int(np.prod(shape)), np.int64)
        places, values = np.array(self.places, np.int64), np.array(self.values, np.int64)
        if len(places) != len(values) or (len(places) and places.min() < 0):
            raise ValueError("places and values of an array that do not fit each other")
        array[places] = values
        return array.reshape(shape)


class _StoredJoint(Stored):
    champion: tuple[float, ...]
    challenger: tuple[float, ...]
    rows: _Sparse


class _StoredTop(Stored):
    scores: tuple[float, ...] = ()
    hashes: tuple[int, ...] = ()


class _StoredRow(Stored):
    champion: float
    challenger: float
    hash: int
    keys: tuple[str | None, ...]


class _StoredGroups(Stored):
    kind: GroupKind
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    counts: dict[str, tuple[int, ...]] = {}
    sums: dict[str, tuple[str, ...]] = {}


class _StoredCounts(Stored):
    score: str = ""
    threshold: float | None = None
    classes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    numbers: dict[str, int] = {}
    total: str = "0"
    least: float = np.inf
    greatest: float = -np.inf
    deltas: _Sparse = _Sparse()
    decisions: _Sparse = _Sparse()
    confusion: _Sparse = _Sparse()
    joint: _StoredJoint | None = None
    champion_top: _StoredTop = _StoredTop()
    challenger_top: _StoredTop = _StoredTop()
    most: tuple[_StoredRow, ...] = ()
    groups: dict[str, _StoredGroups | None] = {}


def to_text(counts: DifferenceCounts) -> str:
    """Counts as a checkpoint has them: the file in base64, compressed in a third of the time."""
    return base64.b64encode(to_file(counts, compresslevel=1)).decode()


def from_text(text: str) -> DifferenceCounts:
    """Counts from a checkpoint.

    Raises:
        ValueError: It is no text of `to_text`.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError("no counts of differences: no base64") from error
    return from_file(content)


def to_file(counts: DifferenceCounts, compresslevel: int = 6) -> bytes:
    """Counts as a file has them: JSON, compressed by gzip. Equal counts are equal bytes."""
    numbers = {name: getattr(counts, name) for name in _NUMBERS}
    groups = {name: _stored_groups(one) for name, one in counts.groups.items()}

    stored = _StoredCounts(
        score=counts.score,
        threshold=counts.threshold,
        classes=counts.classes,
        keys=counts.keys,
        numbers=numbers,
        total=_to_hex(counts.total),
        least=counts.least,
        greatest=counts.greatest,
        deltas=_Sparse.of(counts.deltas),
        decisions=_Sparse.of(counts.decisions),
        confusion=_Sparse.of(counts.confusion),
        joint=_stored_joint(counts.joint),
        champion_top=_stored_top(counts.champion_top),
        challenger_top=_stored_top(counts.challenger_top),
        most=tuple(_StoredRow(**row._asdict()) for row in counts.most),
        groups=groups,
    )

    return gzip.compress(stored.model_dump_json().encode(), compresslevel=compresslevel, mtime=0)


def from_file(content: bytes) -> DifferenceCounts:
    """Counts from a file.

    Raises:
        ValueError: It is damaged, or of another kind.
    """
    try:
        return _counts(_decode(content))
    except (zlib.error, ValueError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"no counts of differences: {type(error).__name__}") from error


def _decode(content: bytes) -> _StoredCounts:
    decoder = zlib.decompressobj(wbits=31)
    text = decoder.decompress(content, MOST_BYTES)
    if not decoder.eof:
        raise ValueError("it is cut off, or far too large")
    return _StoredCounts.model_validate_json(text)


def _counts(stored: _StoredCounts) -> DifferenceCounts:
    n_codes = len(stored.classes) + 1 if stored.classes else 0
    most = [DifferingRow(**row.model_dump()) for row in stored.most[:N_MOST]]

    groups = {name: _groups(name, one) for name, one in stored.groups.items()}
    numbers = {name: stored.numbers.get(name, 0) for name in _NUMBERS}

    return DifferenceCounts(
        score=stored.score,
        threshold=stored.threshold,
        classes=stored.classes,
        keys=stored.keys,
        total=_from_hex(stored.total),
        least=stored.least,
        greatest=stored.greatest,
        deltas=stored.deltas.to_array(N_CODES),
        decisions=stored.decisions.to_array(2, 2),
        confusion=stored.confusion.to_array(n_codes, n_codes),
        joint=_joint(stored.joint),
        champion_top=_top(stored.champion_top),
        challenger_top=_top(stored.challenger_top),
        most=most,
        groups=groups,
        **numbers,
    )


def _stored_joint(joint: Joint | None) -> _StoredJoint | None:
    if joint is None:
        return None
    return _StoredJoint(
        champion=joint.champion.edges,
        challenger=joint.challenger.edges,
        rows=_Sparse.of(joint.rows),
    )


def _joint(stored: _StoredJoint | None) -> Joint | None:
    if stored is None:
        return None

    grids = []
    for edges in (stored.champion, stored.challenger):
        if not 2 <= len(edges) <= MOST_BINS or not 0 < edges[-1] - edges[0] < np.inf:
            raise ValueError("edges of scores that are none")
        grids.append(ScoreGrid(edges))

    champion, challenger = grids
    rows = stored.rows.to_array(champion.n_bins, challenger.n_bins)
    return Joint(champion=champion, challenger=challenger, rows=rows)


def _stored_top(top: TopRows) -> _StoredTop:
    return _StoredTop(scores=tuple(top.scores.tolist()), hashes=tuple(top.hashes.tolist()))


def _top(stored: _StoredTop) -> TopRows:
    if len(stored.scores) != len(stored.hashes) or len(stored.scores) > N_TOP:
        raise ValueError("scores and hashes that do not fit each other")
    return TopRows(np.array(stored.scores, np.float64), np.array(stored.hashes, np.uint64))


def _stored_groups(groups: GroupCounts | None) -> _StoredGroups | None:
    if groups is None:
        return None

    counts = {name: tuple(getattr(groups, name)) for name in COUNTED if name not in _SUMS}
    sums = {name: tuple(_to_hex(total) for total in getattr(groups, name)) for name in _SUMS}
    column = groups.column
    return _StoredGroups(
        kind=column.kind, edges=column.edges, values=column.values, counts=counts, sums=sums
    )


def _groups(name: str, stored: _StoredGroups | None) -> GroupCounts | None:
    if stored is None:
        return None

    column = GroupColumn(stored.kind, name, stored.edges, stored.values)

    groups = GroupCounts.empty(column)
    for counted in COUNTED:
        if counted in _SUMS:
            numbers = [_from_hex(text) for text in stored.sums[counted]]
        else:
            numbers = list(stored.counts[counted])

        if len(numbers) != column.n_groups:
            raise ValueError("counts of groups that there are not")
        setattr(groups, counted, numbers)
    return groups


def _to_hex(total: int) -> str:
    """A sum without the zeros at its end, and their number: sums are of many bits."""
    n_zeros = (total & -total).bit_length() - 1 if total else 0
    return f"{total >> n_zeros:x}p{n_zeros}"


def _from_hex(text: str) -> int:
    digits, _, n_zeros = text.partition("p")
    if len(text) > MOST_BYTES >> 10 or int(n_zeros or 0) > MOST_BYTES >> 10:
        raise ValueError("a sum that is far too large")
    return int(digits, 16) << int(n_zeros or 0)
