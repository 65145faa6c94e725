"""The machine code of profiles: one pass over a column of numbers. See `kernels` for how it is compiled and kept.

All memory is the caller's: arrays of fixed sizes, see `count_numbers`. A strip of values stays in the first cache
while it is cleared of nulls, added up, hashed and put into bins.
"""

from typing import Any

import numpy as np

from nightscore.native.compilation import kernel
from nightscore.native.constants import (
    BIN_COPIES,
    BIN_FANOUT,
    HASH_SLOTS,
    LEAST_HASHES,
    MOMENT_LANES,
    MOMENT_STRIP,
    MOST_HASHES,
    STRIP_VALUES,
    WORD_ROWS,
)
from nightscore.native.intrinsics import add_moments, count_edges_below


@kernel
def count_numbers(
    values: Any,
    validity: Any,
    first_bit: int,
    tree: Any,
    n_levels: int,
    pivot: float,
    low: float,
    high: float,
    n_kept: int,
    hashes: Any,
    strip: Any,
    bits: Any,
    mixed: Any,
    rows: Any,
    sums: Any,
    rests: Any,
    tallies: Any,
    moments: Any,
) -> int:
    """Count a column's values; see `monitoring.counting` for what becomes of it.

    Args:
        values: float64, of any content where they are null.
        validity: Bytes of Arrow's bitmap.
        first_bit: Of the first value in the bitmap; negative: there are no nulls.
        tree: Edges of the bins, see `search_trees.edge_tree`.
        n_levels: Of that tree.
        pivot: Subtracted before squares are taken.
        low: Values below it are outside, and
        high: those above it.
        n_kept: Hashes that there are already.
        hashes: uint64, (`HASH_SLOTS` + 1 + `LEAST_HASHES`): a table, 0 where it is free; whether the hash 0 is among
            them; those that there are already, ascending. No entries: they are not wanted.
        strip: float64, (`STRIP_VALUES`), of any content.
        bits: The same memory as uint64.
        mixed: uint64, (`STRIP_VALUES`), of any content: for hashes, then for numbers of bins.
        rows: int64, (`BIN_COPIES` x bins): finite values in each bin are added.
        sums: float64, of that shape: their sums are added, and
        rests: what was lost of these by rounding.
        tallies: int64: NaN, positive and negative infinities, and finite values outside, are added.
        moments: float64, (6 + 2 x `MOMENT_LANES`): two sums of a strip and the extremes of each lane, see
            `add_moments`; the sum of the finite values' distances from the pivot with its rest, and of their squares.

    Returns:
        Hashes that were put into the table.
    """
    n_bins = np.uint64(rows.size // BIN_COPIES)
    most = np.uint64(0xFFFFFFFFFFFFFFFF)
    n_hashes = 0
    if hashes.size:
        if n_kept == LEAST_HASHES:
            most = hashes[HASH_SLOTS + LEAST_HASHES]
        for i in range(n_kept):
            n_hashes += keep_hash(hashes, hashes[np.uintp(HASH_SLOTS + 1 + i)])
    n_new = 0
    for first in range(0, values.size, STRIP_VALUES):
        n_rows = min(STRIP_VALUES, values.size - first)
        if first_bit >= 0:
            n_rows = take_valid(values, first, n_rows, validity, first_bit + first, strip)
        else:
            for i in range(n_rows):
                strip[i] = values[np.uintp(first + i)] + 0.0  # both zeros are one value
        n_odd = 0
        for i in range(n_rows):
            n_odd += not abs(strip[i]) < np.inf
        if n_odd:
            n_rows = take_finite(strip, n_rows, tallies)
        n_outside = 0
        for i in range(n_rows):
            n_outside += (strip[i] < low) | (strip[i] > high)
        tallies[3] += n_outside
        sum_moments(strip, n_rows, pivot, moments)
        if hashes.size:
            for i in range(hash_values(bits, n_rows, most, mixed)):
                if mixed[i] <= most and keep_hash(hashes, mixed[i]):
                    n_new += 1
                    n_hashes += 1
                    if n_hashes == MOST_HASHES:
                        most = keep_least(hashes)
                        n_hashes = LEAST_HASHES
        find_bins(strip, n_rows, tree, n_levels, mixed)
        fill_bins(strip, n_rows, mixed, n_bins, rows, sums, rests)
    return n_new


@kernel
def take_valid(values: Any, first: int, n_rows: int, validity: Any, bit: int, strip: Any) -> int:
    """Copy those of some rows that are not null; how many they are.

    Args:
        values: float64.
        first: Row to start at.
        n_rows: A multiple of `WORD_ROWS`, but for the last.
        validity: Bytes of Arrow's bitmap.
        bit: Of the first row in it.
        strip: Written.
    """
    kept = 0
    for start in range(0, n_rows, WORD_ROWS):
        size = min(WORD_ROWS, n_rows - start)
        byte, shift = (bit + start) >> 3, np.uint64((bit + start) & 7)
        word = np.uint64(0)
        if byte + 9 <= validity.size:
            for j in range(8):
                word |= np.uint64(validity[np.uintp(byte + j)]) << np.uint64(8 * j)
            if shift:
                word = (word >> shift) | (
                    np.uint64(validity[np.uintp(byte + 8)]) << (np.uint64(64) - shift)
                )
        else:
            for j in range(size):
                place = bit + start + j
                word |= np.uint64((validity[np.uintp(place >> 3)] >> (place & 7)) & 1) << np.uint64(
                    j
                )
        from_here = np.uintp(first + start)
        if word == np.uint64(0xFFFFFFFFFFFFFFFF) and size == WORD_ROWS:
            for j in range(WORD_ROWS):
                strip[np.uintp(kept + j)] = values[from_here + np.uintp(j)] + 0.0
            kept += WORD_ROWS
            continue
        for j in range(size):
            strip[np.uintp(kept)] = values[from_here + np.uintp(j)] + 0.0
            kept += (word & np.uint64(1)) != np.uint64(0)
            word >>= np.uint64(1)
    return kept


@kernel
def take_finite(strip: Any, n_rows: int, tallies: Any) -> int:
    """Move the finite values of a strip to its front, and count the others by kind; how many stay."""
    kept = 0
    n_nan = 0
    n_high = 0
    for i in range(n_rows):
        value = strip[i]
        strip[np.uintp(kept)] = value
        kept += abs(value) < np.inf
        n_nan += value != value
        n_high += value == np.inf
    tallies[0] += n_nan
    tallies[1] += n_high
    tallies[2] += n_rows - kept - n_nan - n_high
    return kept


@kernel
def sum_moments(strip: Any, n_rows: int, pivot: float, moments: Any) -> None:
    """Add up distances from the pivot and their squares, and note the extremes.

    Sums of `MOMENT_STRIP` values are added with what rounding loses, as in A. Neumaier, "Rundungsfehleranalyse
    einiger Verfahren zur Summation endlicher Summen" (1974): so no value goes through more than 21 roundings, where a
    pairwise sum of a batch of 65,536 has 28.
    """
    place = 2 + 2 * MOMENT_LANES
    for start in range(0, n_rows, MOMENT_STRIP):
        size = min(MOMENT_STRIP, n_rows - start)
        n_vectors = size // MOMENT_LANES
        address = strip.ctypes.data + 8 * start
        add_moments(address, n_vectors, pivot, moments.ctypes.data)
        for k in range(2):
            add_rest(moments, place + 2 * k, moments[k])
        shifted = 0.0
        squares = 0.0
        for i in range(start + n_vectors * MOMENT_LANES, start + size):
            value = strip[i]
            distance = value - pivot
            shifted += distance
            squares += distance * distance
            moments[2] = min(moments[2], value)
            moments[2 + MOMENT_LANES] = max(moments[2 + MOMENT_LANES], value)
        add_rest(moments, place, shifted)
        add_rest(moments, place + 2, squares)


@kernel
def add_rest(found: Any, place: int, more: float) -> None:
    """Add a number to a sum, and what that loses by rounding to the sum's rest, which stands after it.

    Source: D. Knuth, "The Art of Computer Programming" volume 2 (1969), section 4.2.2, theorem B.
    """
    before = found[place]
    after = before + more
    share = after - before
    found[place] = after
    found[place + 1] += (before - (after - share)) + (more - share)


@kernel
def hash_values(bits: Any, n_rows: int, most: Any, mixed: Any) -> int:
    """Hash float64 values, see `monitoring.distinct`; how many hashes are not above a number: these come first."""
    n_below = 0
    for i in range(n_rows):
        value = bits[i] + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        value ^= value >> np.uint64(31)
        mixed[i] = value
        n_below += value <= most
    if 0 < n_below < n_rows:
        kept = 0
        for i in range(n_rows):
            value = mixed[i]
            mixed[np.uintp(kept)] = value
            kept += value <= most
    return n_below


@kernel
def keep_hash(hashes: Any, found: Any) -> int:
    """Put a hash into the table; 0 if it is there already, else 1."""
    if found == np.uint64(0):
        is_new = hashes[HASH_SLOTS] == np.uint64(0)
        hashes[HASH_SLOTS] = np.uint64(1)
        return 1 if is_new else 0
    slot = found & np.uint64(HASH_SLOTS - 1)
    while hashes[slot] != found:
        if hashes[slot] == np.uint64(0):
            hashes[slot] = found
            return 1
        slot = (slot + np.uint64(1)) & np.uint64(HASH_SLOTS - 1)
    return 0


@kernel
def keep_least(hashes: Any) -> Any:
    """Leave the `LEAST_HASHES` least in the table; the greatest of them, which bisection finds."""
    low = np.uint64(0)
    high = np.uint64(0xFFFFFFFFFFFFFFFF)
    while low < high:
        middle = low + ((high - low) >> np.uint64(1))
        n_below = np.int64(hashes[HASH_SLOTS])
        for i in range(HASH_SLOTS):
            n_below += (hashes[i] <= middle) & (hashes[i] != np.uint64(0))
        if n_below >= LEAST_HASHES:
            high = middle
        else:
            low = middle + np.uint64(1)
    n_left = 0
    for i in range(HASH_SLOTS):
        if hashes[i] != np.uint64(0) and hashes[i] <= high:
            hashes[np.uintp(HASH_SLOTS + 1 + n_left)] = hashes[i]
            n_left += 1
        hashes[i] = np.uint64(0)
    for i in range(n_left):
        keep_hash(hashes, hashes[np.uintp(HASH_SLOTS + 1 + i)])
    return high


@kernel
def find_bins(strip: Any, n_rows: int, tree: Any, n_levels: int, bins: Any) -> None:
    """Write the bin of each finite value: how many edges are below it."""
    root = tree.ctypes.data
    node_bytes = 8 * BIN_FANOUT
    n_children = BIN_FANOUT + 1
    if (
        n_levels == 2
    ):  # as most have it, or 3: without a loop over levels it takes a third less time
        for i in range(n_rows):
            value = strip[i]
            node = count_edges_below(root, value)
            below = count_edges_below(root + node_bytes * (1 + node), value)
            bins[i] = np.uint64(node * n_children + below)
        return
    if n_levels == 3:
        third = root + node_bytes * (1 + n_children)
        for i in range(n_rows):
            value = strip[i]
            node = count_edges_below(root, value)
            node = node * n_children + count_edges_below(root + node_bytes * (1 + node), value)
            below = count_edges_below(third + node_bytes * node, value)
            bins[i] = np.uint64(node * n_children + below)
        return
    for i in range(n_rows):
        value = strip[i]
        node = count_edges_below(root, value)
        offset = node_bytes
        size = node_bytes * n_children
        for _ in range(n_levels - 1):
            node = node * n_children + count_edges_below(root + offset + node_bytes * node, value)
            offset += size
            size *= n_children
        bins[i] = np.uint64(node)


@kernel
def fill_bins(
    strip: Any, n_rows: int, bins: Any, n_bins: Any, rows: Any, sums: Any, rests: Any
) -> None:
    """Count the values of each bin and add them up.

    What rounding loses is added up by itself, as in W. Kahan, "Further remarks on reducing truncation errors" (1965).
    A bin has `BIN_COPIES` of each sum, taken in turns: else equal values would wait for one another.
    """
    for i in range(n_rows):
        value = strip[i]
        place = np.uint64(i & (BIN_COPIES - 1)) * n_bins + bins[i]
        before = sums[place]
        after = before + value
        rows[place] += 1
        sums[place] = after
        rests[place] += value - (after - before)
