"""Cuts a partition into shards of even weight, from the footers alone."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from schemas.partition import Piece, Shard
from scoring.inputs.footers import Footer

SHARDS_PER_WORKER = 4
"""Enough that the last ones to finish even out, few enough that each writes files of a useful size."""
MIN_SHARD_ROWS = 65_536
"""Below this, sharing the work costs more than it saves."""
MAX_SHARD_BYTES = 256 << 20
"""What a retry repeats at most."""
ROW_ALIGNMENT = 64
"""Row groups are cut at multiples of this, so that batches keep the shape that vector kernels like."""


def plan_shards(footers: Sequence[Footer], needed: Sequence[str], n_workers: int) -> tuple[Shard, ...]:
    """The shards in the order of the files' paths and rows; none for a partition without rows.

    Args:
        footers: Of the partition's files, in the order of their paths.
        needed: Columns that will be read.
        n_workers: Workers that will share the work.
    """
    n_rows = sum(footer.n_rows for footer in footers)
    n_bytes = sum(needed_bytes(footer, needed) for footer in footers)
    if n_rows == 0:
        return ()
    n_shards = min(SHARDS_PER_WORKER * n_workers, math.ceil(n_rows / MIN_SHARD_ROWS))
    n_shards = max(1, n_shards, math.ceil(n_bytes / MAX_SHARD_BYTES))
    # A model costs by rows, a store by bytes: both count, each with its share of the partition.
    weights = [
        (piece, weight, piece_bytes)
        for footer in footers
        for piece, piece_bytes in _pieces(footer, needed, math.ceil(n_rows / n_shards), n_workers)
        for weight in [piece.n_rows / n_rows + piece_bytes / max(n_bytes, 1)]
    ]
    return tuple(_fill(weights, 2.0 / n_shards))


def needed_bytes(footer: Footer, needed: Sequence[str]) -> int:
    """Compressed bytes of the columns in one file."""
    return sum(group.compressed.get(name, 0) for group in footer.row_groups for name in needed)


def _pieces(footer: Footer, needed: Sequence[str], target_rows: int, n_workers: int) -> Iterator[tuple[Piece, int]]:
    first = 0
    for i, group in enumerate(footer.row_groups):
        size = sum(group.compressed.get(name, 0) for name in needed)
        # Rows within a row group are found by decoding what stands before them, so it is cut only
        # as often as there are workers to share it.
        n_cuts = min(n_workers, max(1, group.n_rows // max(target_rows, MIN_SHARD_ROWS)))
        step = math.ceil(group.n_rows / n_cuts / ROW_ALIGNMENT) * ROW_ALIGNMENT
        for low, high in pairwise([*range(0, group.n_rows, step), group.n_rows] if group.n_rows else []):
            share = size * (high - low) // group.n_rows
            yield Piece(footer.file, (i,), first + low, high - low, low), share
        first += group.n_rows


def _fill(weights: Sequence[tuple[Piece, float, int]], target: float) -> Iterator[Shard]:
    pieces: list[Piece] = []
    weight, n_bytes, index = 0.0, 0, 0
    for position, (piece, piece_weight, piece_bytes) in enumerate(weights):
        pieces.append(piece)
        weight += piece_weight
        n_bytes += piece_bytes
        is_last = position == len(weights) - 1
        if is_last or weight >= target:
            yield Shard(index, tuple(_merge(pieces)), sum(p.n_rows for p in pieces), n_bytes, is_last)
            # What a shard has too much, the next ones get less: the sum stays even.
            pieces, weight, n_bytes, index = [], weight - target, 0, index + 1


def _merge(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbouring row groups of one file as one piece, so that a file is opened once."""
    current: Piece | None = None
    for piece in pieces:
        follows = current is not None and (
            current.file == piece.file and current.first_row + current.n_rows == piece.first_row
        )
        if current is not None and follows:
            groups = tuple(dict.fromkeys((*current.row_groups, *piece.row_groups)))
            current = Piece(current.file, groups, current.first_row, current.n_rows + piece.n_rows, current.skip_rows)
            continue
        if current is not None:
            yield current
        current = piece
    if current is not None:
        yield current
