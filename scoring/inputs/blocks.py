"""Decoded rows on their way to a batch.

Files may be small. Their rows wait, as they were decoded, until there are enough for a batch. What
costs the same for one row as for thousands is then done once for all of them.
"""

from collections import deque
from collections.abc import Sequence
from itertools import groupby

import pyarrow as pa

from nightscore.arrow.chunks import combine_small_chunks
from nightscore.inputs.batch_casts import ContractCasts
from nightscore.inputs.batches import Batch, Block, join_batches


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


def cast_blocks(blocks: Sequence[Block], casts: ContractCasts) -> Batch:
    """The rows of all blocks with the contract's types."""
    batches = []
    for _, alike in groupby(blocks, key=lambda block: id(block.columns)):
        batches.append(_cast_alike(list(alike), casts))
    return join_batches(batches)


def _cast_alike(blocks: Sequence[Block], casts: ContractCasts) -> Batch:
    """The rows of blocks that are cast alike."""
    of_file = casts.of(blocks[0].columns)
    if len(blocks) == 1:
        return of_file.cast(blocks[0].rows, (blocks[0].stretch,))

    # Each chunk of each column would be cast on its own.
    rows = combine_small_chunks(pa.concat_tables([block.rows for block in blocks]))
    return of_file.cast(rows, tuple(block.stretch for block in blocks))
