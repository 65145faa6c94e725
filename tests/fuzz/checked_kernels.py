"""The kernels in a build that checks every index. Slower, and for these tests only.

Numba's own checks where a kernel indexes arrays; the same steps written with arrays where it works
on addresses.
"""

import functools
import types
from typing import Any

import numpy as np
from numba import njit

from nightscore.native import kernels
from nightscore.native.constants import BLOCK_ROWS, FANOUT, INFINITE_SEEN, NAN_SEEN

checked = njit(boundscheck=True, error_model="numpy")
"""Raises IndexError, as NumPy does; a negative index counts from the end, in the kernels too."""


@checked  # type: ignore[untyped-decorator]
def at(index: int, size: int) -> int:
    """An index that is taken as an address: nothing counts from the end there."""
    if index < 0 or index >= size:
        raise IndexError("an address outside of its array")
    return index


@checked  # type: ignore[untyped-decorator]
def fill_nulls(values: Any, validity: Any, first_byte: int, filled: Any) -> int:
    for i in range(values.size):
        byte = validity[at(first_byte + i // 8, validity.size)]
        filled[i] = values[i] if (byte >> (i % 8)) & 1 else np.nan
    return 0


@checked  # type: ignore[untyped-decorator]
def rank_column(
    values: Any, keys: Any, n_levels: int, _mask: Any, codes: Any, feature: int, start: int
) -> int:
    greatest = (1 << (8 * codes.itemsize)) - 1
    seen = 0
    at(feature, codes.shape[1])
    for i in range(values.size):
        value = np.float64(values[i])
        code, offset, size = 0, 0, FANOUT
        for _ in range(n_levels):
            below = 0
            for k in range(FANOUT):
                below += keys[at(offset + code * FANOUT + k, keys.size)] < value
            code = code * FANOUT + below
            offset += size
            size *= FANOUT
        if value != value:
            code = greatest
            seen |= NAN_SEEN
        elif value - value != 0.0:
            seen |= INFINITE_SEEN
        row = start + i
        codes[at(row // BLOCK_ROWS, codes.shape[0]), feature, row % BLOCK_ROWS] = code
    return seen


@checked  # type: ignore[untyped-decorator]
def sum_split(
    codes: Any, feature: Any, cut: Any, shift: Any, left: Any, right: Any, jump: Any, word: Any, words: Any,
    n_words: int, first_node: Any, first_leaf: Any, values: Any, column: Any, masks: Any, leaves: Any, out: Any,
) -> int:  # fmt: skip
    n_blocks, n_trees, width = codes.shape[0], first_node.size - 1, values.shape[1]
    whole = (1 << (8 * codes.itemsize)) - 1
    for tree in range(n_trees):
        origin, into = first_leaf[tree], column[tree]
        first, last = first_node[tree], first_node[tree + 1]
        for block in range(n_blocks):
            flat = codes[block].reshape(-1)
            masks[0] = ~np.uint64(0)
            for i in range(BLOCK_ROWS):
                leaves[i] = 0
            for node in range(first, last):
                at(node, feature.size)
                at(node, cut.size)
                at(node, shift.size)
                at(node, jump.size)
                at(node - first, masks.size)
                rows = masks[node - first]
                goes_left = np.uint64(0)
                for i in range(BLOCK_ROWS):
                    code = flat[at(np.int64(feature[node]) + i, flat.size)]
                    if word[at(node, word.size)] >= 0:
                        place = np.int64(code) >> 5
                        for k in range(n_words):
                            bits = words[at(np.int64(word[node]) + k, words.size)]
                            if place == k and (bits >> np.uint32(code & 31)) & 1:
                                goes_left |= np.uint64(1) << np.uint64(i)
                    else:
                        shifted = (np.int64(code) + np.int64(shift[node])) & whole
                        if shifted <= cut[node]:
                            goes_left |= np.uint64(1) << np.uint64(i)
                to_left = rows & goes_left
                to_right = rows ^ to_left
                masks[at(np.int64(left[at(node, left.size)]), masks.size)] = to_left
                masks[at(np.int64(right[at(node, right.size)]), masks.size)] = to_right
                for i in range(BLOCK_ROWS):
                    if (to_right >> np.uint64(i)) & np.uint64(1):
                        leaves[i] += jump[node]
            row = block * BLOCK_ROWS
            for k in range(width):
                for i in range(BLOCK_ROWS):
                    leaf = at(origin + np.int64(leaves[i]), values.shape[0])
                    out[at(into + k, out.shape[0]), row + i] += values[leaf, k]
    return 0


@checked  # type: ignore[untyped-decorator]
def sum_walked(
    keys: Any, nodes: Any, root: Any, depth: Any, values: Any, column: Any, _n_strip: int, out: Any
) -> int:
    for tree in range(root.size):
        for block in range(keys.shape[0]):
            flat = keys[block]
            for i in range(BLOCK_ROWS):
                node = np.int64(root[tree])
                for _ in range(depth[at(tree, depth.size)]):
                    at(node, nodes.shape[0])
                    place = at(np.int64(nodes[node, 1]) + i, flat.size)
                    key = keys.dtype.type(flat[place] + nodes[node, 3])
                    node = np.int64(nodes[node, 2]) + (key > nodes[node, 0])
                leaf = at(node, values.shape[0])
                for k in range(values.shape[1]):
                    into = at(column[tree] + k, out.shape[0])
                    out[into, block * BLOCK_ROWS + i] += values[leaf, k]
    return 0


class CheckedKernels:
    """As `machine_code.Kernels`, with masks of words."""

    variant = "avx512"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _checked(name)


@functools.cache
def _checked(name: str) -> Any:
    written = {
        "fill_nulls": fill_nulls,
        "rank_column": rank_column,
        "sum_split": sum_split,
        "sum_walked": sum_walked,
    }
    if name in written:
        return written[name]
    source = getattr(kernels, name).py_func
    # What it calls is the checked one as well.
    function = types.FunctionType(source.__code__, {**source.__globals__, **written}, name)
    return checked(function)
