"""Rank codes of columns, and trees over blocks of 64 rows.

A value's code is the number of thresholds below it (`x <= thresholds[k]` is `code <= k`), as in
Lucchese et al., "QuickScorer" (SIGIR 2015) and Ye et al., "RapidScorer" (KDD 2018). Small trees are
not walked but split: the rows of a block that reach a node are one 64-bit word. One comparison of
64 codes splits it between the node's children.
"""

from typing import Any

import numpy as np

from nightscore.native.compilation import kernel
from nightscore.native.constants import BLOCK_ROWS, FANOUT, INFINITE_SEEN, NAN_SEEN, STRIP_BLOCKS
from nightscore.native.intrinsics import count_below, split_rows


@kernel
def rank_column(values: Any, keys: Any, n_levels: int, codes: Any, feature: int, start: int) -> int:
    """Write the codes of a column's values from row `start` on. NaN gets the greatest code.

    Args:
        values: float32 or float64.
        keys: The thresholds as a static tree, see `search_trees.key_tree`.
        n_levels: Levels of that tree.
        codes: (blocks, features, 64).
        feature: Second index of the codes.
        start: First row.

    Returns:
        The flags `NAN_SEEN` and `INFINITE_SEEN` of what was among the values.
    """
    address = keys.ctypes.data
    greatest = (1 << (8 * codes.itemsize)) - 1
    seen = 0

    for i in range(values.size):
        value = np.float64(values[i])
        code = 0
        offset = 0
        size = FANOUT

        for _ in range(n_levels):
            code = code * FANOUT + count_below(address + 8 * (offset + code * FANOUT), value)
            offset += size
            size *= FANOUT

        if value != value:
            code = greatest
            seen |= NAN_SEEN
        elif value - value != 0.0:
            seen |= INFINITE_SEEN

        row = np.uint64(start + i)
        codes[row // BLOCK_ROWS, feature, row % BLOCK_ROWS] = code

    return seen


@kernel
def take_codes(indices: Any, known: Any, codes: Any, feature: int, start: int) -> None:
    """Write the codes of a dictionary's values for each row.

    Args:
        indices: int32, the place of each row's value in the dictionary.
        known: The codes of the dictionary's values.
        codes: (blocks, features, 64).
        feature: Second index of the codes.
        start: First row.
    """
    for i in range(indices.size):
        row = np.uint64(start + i)
        codes[row // BLOCK_ROWS, feature, row % BLOCK_ROWS] = known[np.uint32(indices[i])]


@kernel
def order_column(
    bits: Any, keys: Any, feature: int, start: int, infinity: int, magnitude: int
) -> int:
    """Write keys that are ordered as the floats with these bits. NaN gets the greatest key.

    Args:
        bits: The bits of float32 or float64 values.
        keys: (blocks, features, 64).
        feature: Second index of the keys.
        start: First row.
        infinity: Bits of infinity.
        magnitude: Mask of all bits but the sign.

    Returns:
        The flags `NAN_SEEN` and `INFINITE_SEEN` of what was among the values.
    """
    seen = 0
    for i in range(bits.size):
        size = bits[i] & magnitude
        key = size if bits[i] >= 0 else -size  # both zeros have one key

        if size > infinity:
            key = magnitude
            seen |= NAN_SEEN
        elif size == infinity:
            seen |= INFINITE_SEEN

        row = np.uint64(start + i)
        keys[row // BLOCK_ROWS, feature, row % BLOCK_ROWS] = key

    return seen


@kernel
def sum_split(
    codes: Any,
    feature: Any,
    cut: Any,
    shift: Any,
    left: Any,
    right: Any,
    jump: Any,
    word: Any,
    words: Any,
    n_words: int,
    first_node: Any,
    first_leaf: Any,
    values: Any,
    column: Any,
    masks: Any,
    leaves: Any,
    out: Any,
) -> None:
    """Add the values of each tree to `out`, in the order of the trees.

    `SplitTrees` of `models.compiled.forest` documents the arrays of the nodes.

    Args:
        codes: (blocks, features, 64).
        feature: Each node's feature, times 64.
        cut: Each node's greatest code that goes left.
        shift: What is added to a code before it is compared.
        left: Each node's left child.
        right: Each node's right child.
        jump: The leaves of each node's left subtree.
        word: The first word of a categorical node's set; -1 for other nodes.
        words: The words of all sets.
        n_words: Words of each set.
        first_node: The first node of each tree, and the number of nodes.
        first_leaf: The first leaf of each tree, and the number of leaves.
        values: (leaves, width).
        column: The first row of `out` that each tree adds to.
        masks: Scratch, uint64, one more than the greatest tree has nodes.
        leaves: Scratch, 64 of the type of `jump`.
        out: (columns, rows), with the rows filled up to whole blocks.
    """
    n_blocks, n_trees, width = codes.shape[0], first_node.size - 1, values.shape[1]
    # A tree stays in the first cache for the blocks of a strip.
    for strip in range(0, n_blocks, STRIP_BLOCKS):
        for tree in range(n_trees):
            origin = first_leaf[tree]
            into = column[tree]

            for block in range(strip, min(strip + STRIP_BLOCKS, n_blocks)):
                masks[0] = ~np.uint64(0)
                split_rows(
                    cut.dtype.type(0),
                    jump.dtype.type(0),
                    codes[block].ctypes.data,
                    feature.ctypes.data,
                    cut.ctypes.data,
                    shift.ctypes.data,
                    left.ctypes.data,
                    right.ctypes.data,
                    jump.ctypes.data,
                    word.ctypes.data,
                    words.ctypes.data,
                    n_words,
                    first_node[tree],
                    first_node[tree + 1],
                    masks.ctypes.data,
                    leaves.ctypes.data,
                )

                row = block * BLOCK_ROWS

                for k in range(width):
                    for i in range(BLOCK_ROWS):
                        out[into + k, row + i] += values[origin + leaves[i], k]


@kernel
def sum_walked(
    keys: Any, nodes: Any, root: Any, depth: Any, values: Any, column: Any, n_strip: int, out: Any
) -> None:
    """Add the values of each tree to `out`, in the order of the trees.

    Eight rows walk at once: while one waits for the cache, another steps. Every fourth level the
    kernel checks whether all have arrived. A tree is applied to `n_strip` blocks before the next
    tree. `WalkedTrees` of `models.compiled.forest` documents the nodes.

    Args:
        keys: (blocks, features * 64).
        nodes: (nodes, 4).
        root: The first node of each tree.
        depth: The levels of each tree.
        values: (nodes, width).
        column: The first row of `out` that each tree adds to.
        n_strip: Blocks of a strip.
        out: (columns, rows), with the rows filled up to whole blocks.
    """
    n_blocks, n_trees, width = keys.shape[0], root.size, values.shape[1]
    for strip in range(0, n_blocks, n_strip):
        for tree in range(n_trees):
            into = column[tree]

            for block in range(strip, min(strip + n_strip, n_blocks)):
                flat = keys[block]

                for i in range(0, BLOCK_ROWS, 8):
                    n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = np.int64(root[tree])
                    left = depth[tree]

                    while left > 0:
                        before = n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7

                        for _ in range(min(4, left)):
                            key = keys.dtype.type(flat[nodes[n0, 1] + i + 0] + nodes[n0, 3])
                            n0 = nodes[n0, 2] + (key > nodes[n0, 0])
                            key = keys.dtype.type(flat[nodes[n1, 1] + i + 1] + nodes[n1, 3])
                            n1 = nodes[n1, 2] + (key > nodes[n1, 0])
                            key = keys.dtype.type(flat[nodes[n2, 1] + i + 2] + nodes[n2, 3])
                            n2 = nodes[n2, 2] + (key > nodes[n2, 0])

                            key = keys.dtype.type(flat[nodes[n3, 1] + i + 3] + nodes[n3, 3])
                            n3 = nodes[n3, 2] + (key > nodes[n3, 0])
                            key = keys.dtype.type(flat[nodes[n4, 1] + i + 4] + nodes[n4, 3])
                            n4 = nodes[n4, 2] + (key > nodes[n4, 0])
                            key = keys.dtype.type(flat[nodes[n5, 1] + i + 5] + nodes[n5, 3])
                            n5 = nodes[n5, 2] + (key > nodes[n5, 0])

                            key = keys.dtype.type(flat[nodes[n6, 1] + i + 6] + nodes[n6, 3])
                            n6 = nodes[n6, 2] + (key > nodes[n6, 0])
                            key = keys.dtype.type(flat[nodes[n7, 1] + i + 7] + nodes[n7, 3])
                            n7 = nodes[n7, 2] + (key > nodes[n7, 0])

                        left -= 4

                        # Children have greater numbers than their parents: no step
                        # cancels another.
                        if n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7 == before:
                            break

                    row = block * BLOCK_ROWS + i

                    for k in range(width):
                        o = out[into + k]
                        o[row] += values[n0, k]
                        o[row + 1] += values[n1, k]
                        o[row + 2] += values[n2, k]
                        o[row + 3] += values[n3, k]

                        o[row + 4] += values[n4, k]
                        o[row + 5] += values[n5, k]
                        o[row + 6] += values[n6, k]
                        o[row + 7] += values[n7, k]
