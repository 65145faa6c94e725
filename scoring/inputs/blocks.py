"""Decoded rows on their way to a batch.

Files may be small. Their rows wait, as they were decoded, until there are enough for a batch. What
costs the same for one row as for thousands is then done once for all of them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.inputs.batch_casts import FileCasts
from nightscore.inputs.batches import Batch, Stretch, join_batches


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of one file, as they were decoded."""

    rows: pa.Table
    stretch: Stretch
    casts: FileCasts
    """How the columns get the contract's types. The same object for files that are alike."""

    def cut(self, n_rows: int) -> "tuple[Block, Block]":
        """The first rows, and the others. Nothing is copied."""
        head, rest = self.stretch.cut(n_rows)
        return (
            Block(self.rows.slice(0, n_rows), head, self.casts),
            Block(self.rows.slice(n_rows), rest, self.casts),
        )

    def cast(self) -> Batch:
        """The rows with the contract's types."""
        return self.casts.cast(self.rows, (self.stretch,))


class WaitingBlocks:
    """Blocks that are not enough for a batch yet."""

    def __init__(self) -> None:
        """None waits."""
        self._blocks: deque[Block] = deque()
        self.n_rows = 0

    def add(self, block: Block) -> None:
        """Have a block wait behind the others."""
        self._blocks.append(block)
        self.n_rows += block.stretch.n_rows

    def take(self, n_rows: int) -> list[Block]:
        """The first rows; all of them if there are fewer. They do not wait any longer."""
        taken: list[Block] = []
        n_wanted = min(n_rows, self.n_rows)
        self.n_rows -= n_wanted

        while n_wanted:
            block = self._blocks.popleft()
            if block.stretch.n_rows > n_wanted:
                block, rest = block.cut(n_wanted)
                self._blocks.appendleft(rest)

            taken.append(block)
            n_wanted -= block.stretch.n_rows

        return taken


def cast_blocks(blocks: Sequence[Block]) -> Batch:
    """The rows of all blocks with the contract's types."""
    batches = []
    for _, alike in groupby(blocks, key=lambda block: id(block.casts)):
        batches.append(_cast_alike(list(alike)))
    return join_batches(batches)


def _cast_alike(blocks: Sequence[Block]) -> Batch:
    """The rows of blocks that are cast alike."""
    if len(blocks) == 1:
        return blocks[0].cast()

    # Each chunk of each column would be cast on its own.
    rows = combine_small_chunks(pa.concat_tables([block.rows for block in blocks]))
    return blocks[0].casts.cast(rows, tuple(block.stretch for block in blocks))
