"""The sum of a forest's leaves for each row, straight from columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.forest import FlatForest, SplitTrees, WalkedTrees
from nightscore.native.constants import BLOCK_ROWS, STRIP_BLOCKS
from nightscore.native.machine_code import Kernels
from nightscore.native.tree_buffers import aligned_zeros, mask_buffer, mask_type

INFINITY_BITS = {"float32": 0x7F800000, "float64": 0x7FF0000000000000}
MAGNITUDE_BITS = {"float32": 0x7FFFFFFF, "float64": 0x7FFFFFFFFFFFFFFF}
STRIP_PER_TREE = 12
"""Size of a strip of rows, in sizes of a tree that is walked.

Each strip fetches the tree from a farther cache, and each tree the strip if that does not fit
into the second one.
"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A feature's values as they are."""

    values: npt.NDArray[Any]

    @property
    def n_rows(self) -> int:
        """Rows of the chunk."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class IndexedNumbers:
    """The values that a feature has, and for each row which of them."""

    indices: npt.NDArray[np.int32]
    known: npt.NDArray[np.float64]

    @property
    def n_rows(self) -> int:
        """Rows of the chunk."""
        return len(self.indices)


Chunk = Numbers | IndexedNumbers


class ForestSum:
    """Adds up a forest's leaves. It has a buffer of codes of its own."""

    def __init__(self, forest: FlatForest, kernels: Kernels) -> None:
        """Call all kernels once: they are compiled before the address space is limited."""
        trees = forest.trees
        self.forest, self._trees, self._kernels = forest, trees, kernels
        self._dtype = np.dtype(forest.number)

        if isinstance(trees, SplitTrees):
            self._buffer: npt.NDArray[Any] = np.empty(0, trees.code)
            mask = mask_type(trees.code, kernels.variant)
            self._mask = mask.type(0)
            self._masks = mask_buffer(trees.most_nodes + 1, mask)
            self._leaves = np.empty(BLOCK_ROWS, trees.jump.dtype)
        else:
            self._buffer = np.empty(0, trees.key)

        self._compile()

    def _compile(self) -> None:
        rows = np.zeros(2, np.int32)
        chunks: list[Chunk] = [Numbers(np.zeros(1, dtype)) for dtype in (np.float32, np.float64)]
        chunks.append(IndexedNumbers(rows, np.zeros(1)))
        n_rows = sum(chunk.n_rows for chunk in chunks)
        self.add_up([(i, chunks) for i in range(self.forest.n_features)], n_rows)

    def add_up(
        self, features: Iterable[tuple[int, Iterable[Chunk]]], n_rows: int
    ) -> tuple[npt.NDArray[Any], int]:
        """Add up the leaves of each row.

        Args:
            features: Each feature with its chunks, in order. They are read once.
            n_rows: Rows of all chunks together.

        Returns:
            Sums of shape (n_columns, n_rows), and the flags of the NaN and infinities among the
            values (see `native.constants`).
        """
        n_blocks = -(-n_rows // BLOCK_ROWS)
        codes = self._codes(n_blocks)

        seen = 0
        for feature, chunks in features:
            # The kernels write wherever they are told to.
            if not 0 <= feature < self.forest.n_features:
                raise IndexError(f"feature {feature}, expected 0 to {self.forest.n_features - 1}")
            start = 0
            for chunk in chunks:
                seen |= self._encode(chunk, codes, feature, start)
                start += chunk.n_rows

        out = np.empty((len(self.forest.base), n_blocks * BLOCK_ROWS), self.forest.sums)
        out[:] = self.forest.base[:, None]
        self._sum(codes, out)

        return out[:, :n_rows], seen

    def _codes(self, n_blocks: int) -> npt.NDArray[Any]:
        """The buffer for the codes of some blocks."""
        n_features = self.forest.n_features
        size = n_blocks * n_features * BLOCK_ROWS
        if self._buffer.size < size:
            self._buffer = aligned_zeros(size, self._buffer.dtype)
        return self._buffer[:size].reshape(n_blocks, n_features, BLOCK_ROWS)

    def _encode(self, chunk: Chunk, codes: npt.NDArray[Any], feature: int, start: int) -> int:
        if isinstance(chunk, IndexedNumbers):
            return self._take(chunk, codes, feature, start)

        if feature in self.forest.n_categories:
            known, indices = np.unique(chunk.values, return_inverse=True)
            indexed = IndexedNumbers(indices.astype(np.int32), known.astype(np.float64))
            return self._take(indexed, codes, feature, start)

        return self._number(chunk.values, codes, feature, start)

    def _take(
        self, chunk: IndexedNumbers, codes: npt.NDArray[Any], feature: int, start: int
    ) -> int:
        """Encode the known values, then point at them."""
        n_known = len(chunk.known)
        n_codes = self.forest.n_categories.get(feature)
        seen = 0

        if n_codes is not None:
            # NaN is in no range.
            is_known = (chunk.known >= 0) & (chunk.known < n_codes - 1)
            known = np.where(is_known, chunk.known, n_codes - 1).astype(codes.dtype)
        else:
            n_blocks = -(-n_known // BLOCK_ROWS)
            few = np.zeros((n_blocks, codes.shape[1], BLOCK_ROWS), codes.dtype)
            seen = self._number(chunk.known, few, feature, 0)
            known = np.ascontiguousarray(few[:, feature, :]).reshape(-1)[:n_known]

        self._kernels.take_codes(chunk.indices, known, codes, feature, start)

        return seen

    def _number(
        self, values: npt.NDArray[Any], codes: npt.NDArray[Any], feature: int, start: int
    ) -> int:
        # What does not fit becomes infinite, which is seen.
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(values, self._dtype)

        if isinstance(self._trees, SplitTrees):
            keys, n_levels = self._trees.keys[feature], self._trees.n_levels[feature]
            return self._kernels.rank_column(
                values, keys, n_levels, self._mask, codes, feature, start
            )

        number = self.forest.number
        infinity = codes.dtype.type(INFINITY_BITS[number])
        magnitude = codes.dtype.type(MAGNITUDE_BITS[number])
        bits = values.view(codes.dtype)

        return self._kernels.order_column(bits, codes, feature, start, infinity, magnitude)

    def _sum(self, codes: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        if isinstance(self._trees, SplitTrees):
            self._sum_split(self._trees, codes, out)
        else:
            self._sum_walked(self._trees, codes, out)

    def _sum_split(self, trees: SplitTrees, codes: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        self._kernels.sum_split(
            codes,
            trees.feature,
            trees.cut,
            trees.shift,
            trees.left,
            trees.right,
            trees.jump,
            trees.word,
            trees.words,
            trees.n_words,
            trees.first_node,
            trees.first_leaf,
            trees.values,
            trees.column,
            self._masks,
            self._leaves,
            out,
        )

    def _sum_walked(
        self, trees: WalkedTrees, codes: npt.NDArray[Any], out: npt.NDArray[Any]
    ) -> None:
        tree_bytes = (trees.nodes.nbytes + trees.values.nbytes) // len(trees.root)
        block_bytes = max(codes[:1].nbytes, 1)
        n_strip = STRIP_BLOCKS + STRIP_PER_TREE * tree_bytes // block_bytes
        keys = codes.reshape(len(codes), -1)
        self._kernels.sum_walked(
            keys, trees.nodes, trees.root, trees.depth, trees.values, trees.column, n_strip, out
        )
