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
from nightscore.native.tree_intrinsics import count_keys_below, next_node, split_rows


@kernel
def rank_column(
    values: Any, keys: Any, n_levels: int, mask: Any, codes: Any, feature: int, start: int
) -> int:
    """Write the codes of a column's values from row `start` on. NaN gets the greatest code.

    Args:
        values: float32 or float64.
        keys: The thresholds as a static tree, see `search_trees.key_tree`.
        n_levels: Levels of that tree.
        mask: Of the type of masks, see `tree_buffers.mask_type`.
        codes: (blocks, features, 64).
        feature: Second index of the codes.
        start: First row.

    Returns:
        The flags `NAN_SEEN` and `INFINITE_SEEN` of what was among the values.
    """
    root = keys.ctypes.data
    node_bytes = 8 * FANOUT
    greatest = codes.dtype.type((1 << (8 * codes.itemsize)) - 1)
    n_nan = 0
    n_infinite = 0
    first = 0

    while first < values.size:
        # The rows of one block are side by side.
        block, place = (start + first) // BLOCK_ROWS, (start + first) % BLOCK_ROWS
        n_rows = min(BLOCK_ROWS - place, values.size - first)
        part, target = values[first : first + n_rows], codes[block, feature, place:]
        first += n_rows

        # Most features have two levels. Without a loop over levels they take half the time.
        if n_levels == 2:
            for i in range(n_rows):
                value = np.float64(part[i])
                node = count_keys_below(mask, root, value)
                below = count_keys_below(mask, root + node_bytes * (1 + node), value)
                target[i] = node * FANOUT + below
        else:
            for i in range(n_rows):
                value = np.float64(part[i])
                node = 0
                offset = 0
                size = 1

                for _ in range(n_levels):
                    address = root + node_bytes * (offset + node)
                    node = node * FANOUT + count_keys_below(mask, address, value)
                    offset += size
                    size *= FANOUT

                target[i] = node

        for i in range(n_rows):
            is_nan = part[i] != part[i]
            n_nan += is_nan
            n_infinite += abs(part[i]) == np.inf
            target[i] = greatest if is_nan else target[i]

    return (NAN_SEEN if n_nan else 0) | (INFINITE_SEEN if n_infinite else 0)


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
    n_nan = 0
    n_infinite = 0
    first = 0

    while first < bits.size:
        block, place = (start + first) // BLOCK_ROWS, (start + first) % BLOCK_ROWS
        n_rows = min(BLOCK_ROWS - place, bits.size - first)
        part, target = bits[first : first + n_rows], keys[block, feature, place:]
        first += n_rows

        for i in range(n_rows):
            size = part[i] & magnitude
            key = size if part[i] >= 0 else -size  # both zeros have one key
            n_nan += size > infinity
            n_infinite += size == infinity
            target[i] = magnitude if size > infinity else key

    return (NAN_SEEN if n_nan else 0) | (INFINITE_SEEN if n_infinite else 0)


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
        masks: Scratch, one more than the greatest tree has nodes: words of 64 rows, uint64, or 64
            lanes each of the type of `codes`. See `tree_buffers.mask_buffer`.
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
                split_rows(
                    cut.dtype.type(0),
                    jump.dtype.type(0),
                    masks.dtype.type(0),
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
                    total, value = out[into + k, row : row + BLOCK_ROWS], values[origin:, k]
                    for i in range(BLOCK_ROWS):
                        total[i] += value[leaves[i]]


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
    key, address = keys.dtype.type(0), nodes.ctypes.data
    for strip in range(0, n_blocks, n_strip):
        for tree in range(n_trees):
            into = column[tree]

            for block in range(strip, min(strip + n_strip, n_blocks)):
                flat = keys[block].ctypes.data

                for i in range(0, BLOCK_ROWS, 8):
                    n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = np.int64(root[tree])
                    left = depth[tree]

                    while left > 0:
                        before = n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7

                        for _ in range(min(4, left)):
                            n0 = next_node(key, address, flat, n0, i)
                            n1 = next_node(key, address, flat, n1, i + 1)
                            n2 = next_node(key, address, flat, n2, i + 2)
                            n3 = next_node(key, address, flat, n3, i + 3)

                            n4 = next_node(key, address, flat, n4, i + 4)
                            n5 = next_node(key, address, flat, n5, i + 5)
                            n6 = next_node(key, address, flat, n6, i + 6)
                            n7 = next_node(key, address, flat, n7, i + 7)

                        left -= 4

                        # Children have greater numbers than their parents: no step
                        # cancels another.
                        if n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7 == before:
                            break

                    row = block * BLOCK_ROWS + i

                    for k in range(width):
                        total, value = out[into + k, row : row + 8], values[:, k]
                        total[0] += value[np.uintp(n0)]
                        total[1] += value[np.uintp(n1)]
                        total[2] += value[np.uintp(n2)]
                        total[3] += value[np.uintp(n3)]

                        total[4] += value[np.uintp(n4)]
                        total[5] += value[np.uintp(n5)]
                        total[6] += value[np.uintp(n6)]
                        total[7] += value[np.uintp(n7)]
