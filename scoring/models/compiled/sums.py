"""The sum of a forest's leaves for each row, straight from columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.models.compiled.forest import FlatForest, SplitTrees
from nightscore.native.constants import BLOCK_ROWS, STRIP_BLOCKS
from nightscore.native.machine_code import Kernels

INFINITY_BITS = {"float32": 0x7F800000, "float64": 0x7FF0000000000000}
MAGNITUDE_BITS = {"float32": 0x7FFFFFFF, "float64": 0x7FFFFFFFFFFFFFFF}
STRIP_PER_TREE = 40
"""A tree that is walked is fetched from a farther cache for each strip of rows: these are so many times its size."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A feature's values as they are."""

    values: npt.NDArray[Any]

    @property
    def n_rows(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Looked:
    """The values that a feature has, and for each row which of them."""

    indices: npt.NDArray[np.int32]
    known: npt.NDArray[np.float64]

    @property
    def n_rows(self) -> int:
        return len(self.indices)


class ForestSum:
    """A laid out forest and a reused buffer of codes."""

    def __init__(self, forest: FlatForest, kernels: Kernels) -> None:
        trees = forest.trees
        self.forest, self._trees, self._kernels = forest, trees, kernels
        self._dtype = np.dtype(forest.number)
        self._buffer: npt.NDArray[Any] = np.empty(
            0, trees.code if isinstance(trees, SplitTrees) else trees.key
        )
        if isinstance(trees, SplitTrees):
            self._masks = np.empty(trees.most_nodes + 1, np.uint64)
            self._leaves = np.empty(BLOCK_ROWS, trees.jump.dtype)
        self._compile()

    def _compile(self) -> None:
        """Call everything once: compiled or read from the cache now, before the address space is limited."""
        rows = np.zeros(2, np.int32)
        numbers = [Numbers(np.zeros(1, kind)) for kind in (np.float32, np.float64)]
        chunks: list[Numbers | Looked] = [*numbers, Looked(rows, np.zeros(1))]
        self.add_up([(i, chunks) for i in range(self.forest.n_features)], len(numbers) + len(rows))

    def add_up(
        self, features: Iterable[tuple[int, Iterable[Numbers | Looked]]], n_rows: int
    ) -> tuple[npt.NDArray[Any], int]:
        """Sums of shape (n_columns, n_rows), and what was seen of NaN and infinities (see `layout`).

        Args:
            features: Each feature with its chunks, in order; used once.
            n_rows: Of all chunks together.
        """
        n_blocks = -(-n_rows // BLOCK_ROWS)
        n_features = self.forest.n_features
        size = n_blocks * n_features * BLOCK_ROWS
        if self._buffer.size < size:
            self._buffer = np.zeros(size, self._buffer.dtype)
        codes = self._buffer[:size].reshape(n_blocks, n_features, BLOCK_ROWS)
        seen = 0
        for feature, chunks in features:
            if not 0 <= feature < n_features:  # the kernels write where they are told
                raise IndexError(f"feature {feature}, expected 0 to {n_features - 1}")
            start = 0
            for chunk in chunks:
                seen |= self._encode(chunk, codes, feature, start)
                start += chunk.n_rows
        out = np.empty((len(self.forest.base), n_blocks * BLOCK_ROWS), self.forest.sums)
        out[:] = self.forest.base[:, None]
        self._sum(codes, out)
        return out[:, :n_rows], seen

    def _encode(
        self, chunk: Numbers | Looked, codes: npt.NDArray[Any], feature: int, start: int
    ) -> int:
        if isinstance(chunk, Numbers):
            if feature in self.forest.n_categories:
                known, indices = np.unique(chunk.values, return_inverse=True)
                return self._take(
                    Looked(indices.astype(np.int32), known.astype(np.float64)),
                    codes,
                    feature,
                    start,
                )
            return self._number(chunk.values, codes, feature, start)
        return self._take(chunk, codes, feature, start)

    def _take(self, chunk: Looked, codes: npt.NDArray[Any], feature: int, start: int) -> int:
        """Encode the known values, then point at them."""
        n_known = len(chunk.known)
        seen = 0
        if (n_codes := self.forest.n_categories.get(feature)) is not None:
            is_known = (chunk.known >= 0) & (chunk.known < n_codes - 1)  # NaN is neither
            known = np.where(is_known, chunk.known, n_codes - 1).astype(codes.dtype)
        else:
            few = np.zeros((-(-n_known // BLOCK_ROWS), codes.shape[1], BLOCK_ROWS), codes.dtype)
            seen = self._number(chunk.known, few, feature, 0)
            known = np.ascontiguousarray(few[:, feature, :]).reshape(-1)[:n_known]
        self._kernels.take_codes(chunk.indices, known, codes, feature, start)
        return seen

    def _number(
        self, values: npt.NDArray[Any], codes: npt.NDArray[Any], feature: int, start: int
    ) -> int:
        with np.errstate(over="ignore"):  # infinite then, which is seen
            values = np.ascontiguousarray(values, self._dtype)
        if isinstance(self._trees, SplitTrees):
            keys, n_levels = self._trees.keys[feature], self._trees.n_levels[feature]
            return self._kernels.rank_column(values, keys, n_levels, codes, feature, start)
        bits, number = values.view(codes.dtype), self.forest.number
        infinity, magnitude = (
            codes.dtype.type(of[number]) for of in (INFINITY_BITS, MAGNITUDE_BITS)
        )
        return self._kernels.order_column(bits, codes, feature, start, infinity, magnitude)

    def _sum(self, codes: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        trees = self._trees
        if isinstance(trees, SplitTrees):
            self._kernels.sum_split(
                codes, trees.feature, trees.cut, trees.shift, trees.left, trees.right, trees.jump, trees.word,
                trees.words, trees.n_words, trees.first_node, trees.first_leaf, trees.values, trees.column,
                self._masks, self._leaves, out,
            )  # fmt: skip
        else:
            tree_bytes = (trees.nodes.nbytes + trees.values.nbytes) // len(trees.root)
            n_strip = STRIP_BLOCKS + STRIP_PER_TREE * tree_bytes // max(codes[:1].nbytes, 1)
            keys = codes.reshape(len(codes), -1)
            self._kernels.sum_walked(
                keys, trees.nodes, trees.root, trees.depth, trees.values, trees.column, n_strip, out
            )
