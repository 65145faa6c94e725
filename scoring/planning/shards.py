"""Cuts a partition into shards of even weight, from the footers alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from nightscore.inputs.footers import Footer
from nightscore.schemas.partition import Piece, Shard

SHARDS_PER_WORKER = 4
"""Enough that the last ones to finish even out, few enough that each writes files of a useful size."""
MIN_SHARD_ROWS = 65_536
"""Below this, sharing the work costs more than it saves."""
MAX_SHARD_BYTES = 256 << 20
"""What a retry repeats at most, as long as the shards are not too many."""
MAX_SHARDS = 4_096
"""A shard is a part, a line of the commit, a checkpoint, a result in the driver. 10 TB make shards of 2.5 GB."""
ROW_ALIGNMENT = 64
"""Row groups are cut at multiples of this, so that batches keep the shape that vector kernels like."""


def plan_shards(
    footers: Sequence[Footer], needed: Sequence[str], n_workers: int
) -> tuple[Shard, ...]:
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
    n_shards = min(n_shards, MAX_SHARDS)
    target_rows = math.ceil(n_rows / n_shards)
    # A model costs by rows, a store by bytes: both count, each with its share of the partition.
    weights = (
        (piece, piece.n_rows / n_rows + piece_bytes / max(n_bytes, 1), piece_bytes)
        for footer in footers
        for piece, piece_bytes in _pieces(footer, needed, target_rows, n_workers)
    )
    return tuple(_fill(weights, 2.0 / n_shards, n_rows))


def needed_bytes(footer: Footer, needed: Sequence[str]) -> int:
    """Compressed bytes of the columns in one file."""
    return sum(footer.row_groups.compressed_bytes(needed))


def _pieces(
    footer: Footer, needed: Sequence[str], target_rows: int, n_workers: int
) -> Iterator[tuple[Piece, int]]:
    first = 0
    for i, (group_rows, size) in enumerate(
        zip(footer.row_groups.rows, footer.row_groups.compressed_bytes(needed), strict=True)
    ):
        # Rows within a row group are found by decoding what stands before them, so it is cut only
        # as often as there are workers to share it.
        n_cuts = min(n_workers, max(1, group_rows // max(target_rows, MIN_SHARD_ROWS)))
        step = math.ceil(group_rows / n_cuts / ROW_ALIGNMENT) * ROW_ALIGNMENT
        for low, high in pairwise([*range(0, group_rows, step), group_rows] if group_rows else []):
            share = size * (high - low) // group_rows
            yield Piece(footer.file, (i,), first + low, high - low, low), share
        first += group_rows


def _fill(
    weights: Iterable[tuple[Piece, float, int]], target: float, n_left: int
) -> Iterator[Shard]:
    pieces: list[Piece] = []
    weight, n_bytes, index = 0.0, 0, 0
    for piece, piece_weight, piece_bytes in weights:
        pieces.append(piece)
        weight += piece_weight
        n_bytes += piece_bytes
        n_left -= piece.n_rows
        is_last = n_left == 0
        if is_last or weight >= target:
            yield Shard(
                index, tuple(_merge(pieces)), sum(p.n_rows for p in pieces), n_bytes, is_last
            )
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
            current = Piece(
                current.file,
                groups,
                current.first_row,
                current.n_rows + piece.n_rows,
                current.skip_rows,
            )
            continue
        if current is not None:
            yield current
        current = piece
    if current is not None:
        yield current
