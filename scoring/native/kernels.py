"""The machine code: rank codes of columns, and trees over blocks of 64 rows.

Called through `machine_code` only, which keeps what is compiled. Each function is compiled for the types that it is
first called with, once per host; `sums.ForestSum` calls what it will need when a model is loaded, so that nothing is
compiled while a shard is scored under its limit of address space. None allocates (its scratch is handed over), raises
or returns anything but a whole number: so its machine code needs nothing of Python.

A value's code is the number of thresholds below it (`x <= thresholds[k]` is `code <= k`), as in Lucchese et al.,
"QuickScorer" (SIGIR 2015) and Ye et al., "RapidScorer" (KDD 2018); the trees are not walked but split: the set of a
block's rows that reach a node is one 64-bit word, which one comparison of 64 codes cuts into those of its children.
"""

import math
from typing import Any

import numpy as np

from nightscore.native.column_kernels import count_numbers as count_numbers
from nightscore.native.compilation import kernel
from nightscore.native.constants import (
    BLOCK_ROWS,
    DIVIDE,
    FANOUT,
    INFINITE_SEEN,
    MULTIPLY,
    NAN_SEEN,
    STRIP_BLOCKS,
    SUBTRACT,
)
from nightscore.native.intrinsics import count_below, fill_block, split_rows


@kernel
def fill_nulls(values: Any, validity: Any, first_byte: int, filled: Any) -> None:
    """Copy floats, NaN where Arrow's bitmap says null.

    Args:
        values: float32 or float64.
        validity: Bytes of the bitmap.
        first_byte: Where the first value's bit is the lowest.
        filled: At least as long as the values.
    """
    n_whole = values.size // BLOCK_ROWS
    source, bits, target = values.ctypes.data, validity.ctypes.data + first_byte, filled.ctypes.data
    step = BLOCK_ROWS * values.itemsize
    for block in range(n_whole):
        fill_block(
            filled.dtype.type(0), source + block * step, bits + block * 8, target + block * step
        )
    for i in range(n_whole * BLOCK_ROWS, values.size):
        is_valid = (validity[first_byte + i // 8] >> (i % 8)) & 1
        filled[i] = values[i] if is_valid else np.nan


@kernel
def rank_column(values: Any, keys: Any, n_levels: int, codes: Any, feature: int, start: int) -> int:
    """Write the codes of a column's values from row `start` on; NaN gets the greatest code.

    Args:
        values: float32 or float64.
        keys: The thresholds as a static tree, see `search_trees.key_tree`.
        n_levels: Of that tree.
        codes: (blocks, features, 64).
        feature: Second index of the codes.
        start: First row.

    Returns:
        `NAN_SEEN` and `INFINITE_SEEN`, as far as there are any.
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
    """Write the codes of a dictionary's values for each row that points at them."""
    for i in range(indices.size):
        row = np.uint64(start + i)
        codes[row // BLOCK_ROWS, feature, row % BLOCK_ROWS] = known[np.uint32(indices[i])]


@kernel
def order_column(
    bits: Any, keys: Any, feature: int, start: int, infinity: int, magnitude: int
) -> int:
    """Write keys that are ordered as the floats are whose bits these are; NaN gets the greatest.

    Args:
        bits: Of float32 or float64.
        keys: (blocks, features, 64).
        feature: Second index of the keys.
        start: First row.
        infinity: Bits of infinity.
        magnitude: Mask of all bits but the sign.
    """
    seen = 0
    for i in range(bits.size):
        size = bits[i] & magnitude
        key = size if bits[i] >= 0 else -size  # both zeros are one key
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
    codes: Any, feature: Any, cut: Any, shift: Any, left: Any, right: Any, jump: Any, word: Any, words: Any,
    n_words: int, first_node: Any, first_leaf: Any, values: Any, column: Any, masks: Any, leaves: Any, out: Any,
) -> None:  # fmt: skip
    """Add each tree's values to `out`, in the trees' order; see `layout.SplitTrees`.

    Args:
        codes: (blocks, features, 64).
        masks: Scratch, uint64, one more than the greatest tree has nodes.
        leaves: Scratch, 64 of the type of `jump`.
        out: (columns, rows), the rows filled up to whole blocks.
    """
    n_blocks, n_trees, width = codes.shape[0], first_node.size - 1, values.shape[1]
    for strip in range(
        0, n_blocks, STRIP_BLOCKS
    ):  # a tree stays in the first cache for some blocks
        for tree in range(n_trees):
            origin = first_leaf[tree]
            into = column[tree]
            for block in range(strip, min(strip + STRIP_BLOCKS, n_blocks)):
                masks[0] = ~np.uint64(0)
                split_rows(
                    cut.dtype.type(0), jump.dtype.type(0), codes[block].ctypes.data, feature.ctypes.data,
                    cut.ctypes.data, shift.ctypes.data, left.ctypes.data, right.ctypes.data, jump.ctypes.data,
                    word.ctypes.data, words.ctypes.data, n_words, first_node[tree], first_node[tree + 1],
                    masks.ctypes.data, leaves.ctypes.data,
                )  # fmt: skip
                row = block * BLOCK_ROWS
                for k in range(width):
                    for i in range(BLOCK_ROWS):
                        out[into + k, row + i] += values[origin + leaves[i], k]


@kernel
def sum_walked(
    keys: Any, nodes: Any, root: Any, depth: Any, values: Any, column: Any, n_strip: int, out: Any
) -> None:
    """Add each tree's values to `out`, in the trees' order; see `layout.WalkedTrees`.

    Eight rows at once, so that one's wait for the cache is another's step; looked at every fourth level, whether all
    have arrived. A tree is applied to `n_strip` blocks before the next.

    Args:
        keys: (blocks, features * 64).
        out: (columns, rows), the rows filled up to whole blocks.
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
                        if n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7 == before:
                            break  # children have greater numbers than their parents
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


@kernel
def change_numbers(
    values: Any,
    validity: Any,
    first_byte: int,
    fill: float,
    center: float,
    scale: float,
    steps: Any,
    numbers: Any,
    out: Any,
) -> None:
    """Impute and scale a column in front of trees; see `add_numbers` for the arguments.

    Args:
        out: float64, as long as the values.
    """
    if first_byte >= 0:
        fill_nulls(values, validity, first_byte, out)
    else:
        for i in range(out.size):
            out[i] = values[i]
    for i in range(out.size):
        value = out[i]
        value = fill if value != value else value
        value = (value - center) / scale
        for step in range(steps.size):
            number, kind = numbers[step], steps[step]
            if kind == SUBTRACT:
                value -= number
            elif kind == DIVIDE:
                value /= number
            elif kind == MULTIPLY:
                value *= number
            else:
                value += number
        out[i] = value


@kernel
def add_numbers(
    values: Any,
    validity: Any,
    first_byte: int,
    fill: float,
    center: float,
    scale: float,
    steps: Any,
    numbers: Any,
    weights: Any,
    strip: Any,
    out: Any,
    start: int,
) -> bool:
    """Add a column's share of a linear model to `out`, from row `start` on; whether all values were finite.

    Args:
        values: float64.
        validity: Bytes of Arrow's bitmap.
        first_byte: Of the bitmap, see `fill_nulls`; negative: there are no nulls.
        fill: Takes the place of NaN.
        center: Subtracted first.
        scale: Divided by then.
        steps: What else is done to each value, see `constants.SUBTRACT` and those after it.
        numbers: The second operand of each step.
        weights: The column's coefficient for each output.
        strip: Scratch, float64, a multiple of 64.
        out: (outputs, rows).
        start: First row.
    """
    odd = 0
    for first in range(0, values.size, strip.size):
        n_rows = min(strip.size, values.size - first)
        if first_byte >= 0:
            fill_nulls(values[first : first + n_rows], validity, first_byte + first // 8, strip)
        else:
            part = values[
                first : first + n_rows
            ]  # an index that is a sum is looked at for its sign, each time
            for i in range(n_rows):
                strip[i] = part[i]
        if scale != 1.0:
            for i in range(n_rows):
                value = strip[i]
                strip[i] = ((fill if value != value else value) - center) / scale
        else:
            for i in range(n_rows):
                value = strip[i]
                strip[i] = (fill if value != value else value) - center
        for step in range(steps.size):
            number, kind = numbers[step], steps[step]
            if kind == SUBTRACT:
                for i in range(n_rows):
                    strip[i] -= number
            elif kind == DIVIDE:
                for i in range(n_rows):
                    strip[i] /= number
            elif kind == MULTIPLY:
                for i in range(n_rows):
                    strip[i] *= number
            else:
                for i in range(n_rows):
                    strip[i] += number
        for i in range(n_rows):
            odd |= int(
                strip[i] - strip[i] != 0.0
            )  # NaN and infinity, which nothing turns back into numbers
        for k in range(weights.size):
            weight, row = weights[k], out[k, start + first : start + first + n_rows]
            for i in range(n_rows):
                row[i] += weight * strip[i]
    return odd == 0


@kernel
def add_known(indices: Any, shares: Any, out: Any, start: int) -> None:
    """Add a dictionary's shares of a linear model, (values, outputs), for each row that points at them."""
    for k in range(shares.shape[1]):
        row = out[k, start : start + indices.size]
        for i in range(indices.size):
            row[i] += shares[np.uint32(indices[i]), k]


@kernel
def expit(values: Any, out: Any) -> None:
    """The logistic function, as SciPy's `expit` computes it."""
    for i in range(values.size):
        out[i] = 1.0 / (1.0 + math.exp(-values[i]))


@kernel
def sigmoid32(values: Any, out: Any) -> None:
    """XGBoost's logistic function, of float32."""
    one = np.float32(1.0)
    for i in range(values.size):
        x = min(-values[i], np.float32(88.7))
        out[i] = one / (math.exp(x) + one + np.float32(1e-16))


@kernel
def exp(values: Any, out: Any) -> None:
    """By C's own `exp` or `expf`."""
    for i in range(values.size):
        out[i] = math.exp(values[i])


@kernel
def log1p_exp(values: Any, out: Any) -> None:
    """log(1 + exp(x)), by C's own functions."""
    for i in range(values.size):
        out[i] = math.log1p(math.exp(values[i]))


@kernel
def softmax(values: Any, out: Any) -> None:
    """Of each row, (rows, classes): the sum in float64, from the first class on, as LightGBM and XGBoost have it."""
    for i in range(values.shape[0]):
        greatest = values[i, 0]
        for k in range(1, values.shape[1]):
            greatest = max(greatest, values[i, k])
        total = 0.0
        for k in range(values.shape[1]):
            out[i, k] = math.exp(values[i, k] - greatest)
            total += np.float64(out[i, k])
        divisor = out.dtype.type(total)
        for k in range(values.shape[1]):
            out[i, k] = out[i, k] / divisor
