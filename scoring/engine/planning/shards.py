"""Cuts a partition into shards of even weight, from the footers alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from nightscore.inputs.footers import Footer
from nightscore.schemas.partition import MIN_SHARD_ROWS, Piece, Shard

SHARDS_PER_WORKER = 4
"""Enough that the last ones to finish even out; few enough that files have a useful size."""
MAX_SHARD_BYTES = 256 << 20
"""What a retry repeats at most, as long as the shards are not too many."""
MAX_SHARDS = 4_096
"""A shard is a part, a line of the commit, a checkpoint and a result in the driver. 10 TB make
shards of 2.5 GB."""
LEAST_ROWS = 1_024
"""Of a slow model's shard."""
DECODED_BYTE_S = 2e-9
"""Seconds that a byte of a row takes to be decoded. A shard that begins within a row group decodes
what stands before it."""
THREAD_SHARD_S = 0.25
"""Seconds that a shard is worth at least, where one more worker is a thread."""
PROCESS_SHARD_S = 1.0
"""The same, where one more worker is a process that loads the model's library first."""
NEARLY = 0.99
"""Share of its weight with which a shard is full. Files that are nearly alike are dealt out alike,
although some are lighter than others by a few bytes."""
ROW_ALIGNMENT = 64
"""Row groups are cut at multiples of this: batches keep the shape that vector kernels like."""


def least_shard_rows(row_s: float | None, row_bytes: float, *, in_threads: bool) -> int:
    """Rows below which a shard is not worth one more worker.

    A power of two, so that two measurements give the same shards if they are nearly equal.

    Args:
        row_s: Seconds that the model takes for a row; None: not known.
        row_bytes: Decoded bytes of a row.
        in_threads: Workers are threads of one process.
    """
    least_s = THREAD_SHARD_S if in_threads else PROCESS_SHARD_S
    n_rows = MIN_SHARD_ROWS

    if row_s is None or row_s < DECODED_BYTE_S * row_bytes:
        return n_rows

    while n_rows > LEAST_ROWS and n_rows // 2 * row_s >= least_s:
        n_rows //= 2

    return n_rows


def plan_shards(
    footers: Sequence[Footer],
    needed: Sequence[str],
    n_workers: int,
    least_rows: int = MIN_SHARD_ROWS,
) -> tuple[Shard, ...]:
    """The shards in the order of the files' paths and rows; none for a partition without rows.

    Args:
        footers: Footers of the partition's files, in the order of their paths.
        needed: Columns that will be read.
        n_workers: Workers that will share the work.
        least_rows: Rows below which a shard is not worth one more worker.
    """
    n_rows = sum(footer.n_rows for footer in footers)
    n_bytes = sum(needed_bytes(footer, needed) for footer in footers)

    if n_rows == 0:
        return ()

    n_shards = min(SHARDS_PER_WORKER * n_workers, math.ceil(n_rows / least_rows))
    n_by_bytes = math.ceil(n_bytes / MAX_SHARD_BYTES)
    if n_by_bytes > n_shards:
        # As many for each worker: none waits while the last shard is scored.
        n_shards = math.ceil(n_by_bytes / n_workers) * n_workers
    n_shards = min(max(1, n_shards), MAX_SHARDS)
    piece_rows = max(math.ceil(n_rows / n_shards), least_rows)

    def weighted_pieces() -> Iterator[_WeightedPiece]:
        for footer in footers:
            for piece, piece_bytes in _pieces(footer, needed, piece_rows, n_workers):
                # A model costs by rows, a store by bytes: both count, each with its share.
                weight = piece.n_rows / n_rows + piece_bytes / max(n_bytes, 1)
                yield _WeightedPiece(piece, weight, piece_bytes)

    return tuple(_fill(weighted_pieces(), 2.0 / n_shards, n_rows))


def needed_bytes(footer: Footer, needed: Sequence[str]) -> int:
    """Compressed bytes of the columns in one file."""
    return sum(footer.row_groups.compressed_bytes(needed))


class _WeightedPiece(NamedTuple):
    piece: Piece
    weight: float
    """Its share of the partition's rows, plus its share of the bytes."""
    n_bytes: int


def _pieces(
    footer: Footer, needed: Sequence[str], piece_rows: int, n_workers: int
) -> Iterator[tuple[Piece, int]]:
    """Pieces of one file, each within a row group, with their bytes."""
    first_row = 0
    groups = zip(footer.row_groups.rows, footer.row_groups.compressed_bytes(needed), strict=True)

    for index, (group_rows, group_bytes) in enumerate(groups):
        # Rows within a row group are found by decoding what stands before them, so it is cut only
        # as often as there are workers to share it.
        n_cuts = min(n_workers, max(1, group_rows // piece_rows))
        step = math.ceil(group_rows / n_cuts / ROW_ALIGNMENT) * ROW_ALIGNMENT

        for start in range(0, group_rows, step or 1):
            n_rows = min(step, group_rows - start)
            piece = Piece(footer.file, (index,), first_row + start, n_rows, start)
            yield piece, group_bytes * n_rows // group_rows

        first_row += group_rows


def _fill(pieces: Iterable[_WeightedPiece], target: float, n_left: int) -> Iterator[Shard]:
    """Shards of the target's weight each, filled in order."""
    shard_pieces: list[Piece] = []
    weight, n_bytes, index = 0.0, 0, 0

    for weighted in pieces:
        shard_pieces.append(weighted.piece)
        weight += weighted.weight
        n_bytes += weighted.n_bytes
        n_left -= weighted.piece.n_rows

        is_last = n_left == 0
        if is_last or weight >= NEARLY * target:
            n_rows = sum(piece.n_rows for piece in shard_pieces)
            yield Shard(index, tuple(_merge(shard_pieces)), n_rows, n_bytes, is_last)
            # What a shard has too much, the next ones get less: the sum stays even.
            shard_pieces, weight, n_bytes, index = [], weight - target, 0, index + 1


def _merge(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbouring row groups of one file as one piece, so that a file is opened once."""
    current: Piece | None = None

    for piece in pieces:
        if current is None:
            current = piece
        elif _follows(current, piece):
            row_groups = tuple(dict.fromkeys((*current.row_groups, *piece.row_groups)))
            n_rows = current.n_rows + piece.n_rows
            current = replace(current, row_groups=row_groups, n_rows=n_rows)
        else:
            yield current
            current = piece

    if current is not None:
        yield current


def _follows(piece: Piece, other: Piece) -> bool:
    """Whether the other piece begins where this one ends."""
    return piece.file == other.file and piece.first_row + piece.n_rows == other.first_row
