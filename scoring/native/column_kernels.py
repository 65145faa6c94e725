"""The machine code of profiles: one pass over a column of numbers.

The caller hands over all memory, see `count_buffers`. A strip of values stays in the first cache
while nulls are removed and values are added up, hashed and put into bins.
"""

from typing import Any

import numpy as np

from nightscore.native.column_intrinsics import add_moments, array_at, count_edges_below
from nightscore.native.compilation import kernel
from nightscore.native.constants import (
    BIN_COPIES,
    BIN_FANOUT,
    CELLS,
    HASH_COUNT,
    HASH_KNOWN,
    HASH_MOST,
    HASH_SLOTS,
    HASH_ZERO,
    LEAST_HASHES,
    LIMIT_HIGH,
    LIMIT_LOW,
    LIMIT_ORIGIN,
    LIMIT_PIVOT,
    LIMIT_SCALE,
    MOMENT_LANES,
    MOMENT_STRIP,
    MOST_HASHES,
    SEARCH_CELLS,
    SEARCH_EDGES,
    SEARCH_LEVELS,
    SEARCH_N_CELLS,
    SEARCH_TREE,
    STRIP_VALUES,
    WORD_ROWS,
)


@kernel
def count_numbers(
    values: Any,
    validity: Any,
    first_bit: int,
    search: Any,
    limits: Any,
    n_known: int,
    hashes: Any,
    strip: Any,
    mixed: Any,
    rows: Any,
    sums: Any,
    rests: Any,
    tallies: Any,
    moments: Any,
) -> int:
    """Count a column's values.

    Args:
        values: float64, of any content where they are null.
        validity: Bytes of Arrow's bitmap.
        first_bit: The first value's bit in the bitmap; negative: there are no nulls.
        search: int64, (5): how bins are found, see `constants.SEARCH_TREE`.
        limits: float64, (5): the pivot, the bounds, and where cells are, see
            `constants.LIMIT_PIVOT`.
        n_known: Hashes that are known already.
        hashes: uint64, (`HASH_PLACES`): a table, 0 where it is free; then see
            `constants.HASH_ZERO`. The known hashes ascend. Empty: hashes are not wanted.
        strip: Scratch, float64, (`STRIP_VALUES`).
        mixed: Scratch, uint64, (`STRIP_VALUES`): for hashes, then for numbers of bins.
        rows: int64, (`BIN_COPIES` x bins): finite values in each bin are added.
        sums: float64, of that shape: the sums of these values are added.
        rests: float64, of that shape: what the sums lost by rounding.
        tallies: int64: NaN, positive and negative infinities, and finite values outside, are added.
        moments: float64, (6 + 2 x `MOMENT_LANES`): two sums of a strip and the extremes of each
            lane, see `add_moments`; the sum of the finite values' distances from the pivot, and of
            the squares of these distances, each with its rest.

    Returns:
        How many new hashes were put into the table.
    """
    n_bins = np.uint64(rows.size // BIN_COPIES)
    low, high = limits[LIMIT_LOW], limits[LIMIT_HIGH]
    bits = array_at(np.uint64(0), strip.ctypes.data, STRIP_VALUES)
    most = np.uint64(0xFFFFFFFFFFFFFFFF)
    n_hashes: Any = 0

    if hashes.size:
        n_hashes = np.int64(hashes[HASH_COUNT])
        if hashes[HASH_MOST]:
            most = hashes[HASH_MOST]
        if n_known == LEAST_HASHES:
            most = hashes[HASH_KNOWN + LEAST_HASHES - 1]
        for i in range(n_known):
            n_hashes += keep_hash(hashes, hashes[np.uintp(HASH_KNOWN + i)])

    n_new = 0
    for first in range(0, values.size, STRIP_VALUES):
        n_rows = min(STRIP_VALUES, values.size - first)

        if first_bit >= 0:
            n_rows = take_valid(values, first, n_rows, validity, first_bit + first, strip)
        else:
            for i in range(n_rows):
                strip[i] = values[np.uintp(first + i)] + 0.0  # both zeros are one value

        n_odd = 0
        n_outside = 0
        for i in range(n_rows):
            n_odd += not abs(strip[i]) < np.inf
            n_outside += (strip[i] < low) | (strip[i] > high)

        if n_odd:
            n_rows = take_finite(strip, n_rows, tallies)
            n_outside = 0
            for i in range(n_rows):
                n_outside += (strip[i] < low) | (strip[i] > high)

        tallies[3] += n_outside
        sum_moments(strip, n_rows, limits[LIMIT_PIVOT], moments)

        if hashes.size:
            for i in range(hash_values(bits, n_rows, most, mixed)):
                if mixed[i] <= most and keep_hash(hashes, mixed[i]):
                    n_new += 1
                    n_hashes += 1
                    if n_hashes == MOST_HASHES:
                        most = keep_least(hashes)
                        n_hashes = LEAST_HASHES

        if search[SEARCH_N_CELLS]:
            cells = array_at(np.uint16(0), search[SEARCH_CELLS], search[SEARCH_N_CELLS])
            edges = array_at(np.float64(0), search[SEARCH_EDGES], np.int64(n_bins))
            find_cells(strip, n_rows, limits, mixed)
            find_bins_of_cells(strip, n_rows, cells, edges, mixed)
        else:
            find_bins(strip, n_rows, np.uintp(search[SEARCH_TREE]), search[SEARCH_LEVELS], mixed)

        fill_bins(strip, n_rows, mixed, n_bins, rows, sums, rests)

    if hashes.size:
        hashes[HASH_COUNT] = np.uint64(n_hashes)
        if most != np.uint64(0xFFFFFFFFFFFFFFFF):
            hashes[HASH_MOST] = most

    return n_new


@kernel
def take_valid(values: Any, first: int, n_rows: int, validity: Any, bit: int, strip: Any) -> int:
    """Copy the values of some rows that are not null.

    Args:
        values: float64.
        first: Row to start at.
        n_rows: A multiple of `WORD_ROWS`, except at the end.
        validity: Bytes of Arrow's bitmap.
        bit: The first row's bit in the bitmap.
        strip: Receives the values.

    Returns:
        How many values were copied.
    """
    n_valid = 0
    for start in range(0, n_rows, WORD_ROWS):
        size = min(WORD_ROWS, n_rows - start)

        # The bits of these rows, the first row's lowest.
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
                is_set = np.uint64((validity[np.uintp(place >> 3)] >> (place & 7)) & 1)
                word |= is_set << np.uint64(j)

        row = np.uintp(first + start)

        if word == np.uint64(0xFFFFFFFFFFFFFFFF) and size == WORD_ROWS:
            for j in range(WORD_ROWS):
                strip[np.uintp(n_valid + j)] = values[row + np.uintp(j)] + 0.0
            n_valid += WORD_ROWS
            continue

        # Each value is written, and the next one over it if it is null: no branch to mispredict.
        for j in range(size):
            strip[np.uintp(n_valid)] = values[row + np.uintp(j)] + 0.0
            n_valid += (word & np.uint64(1)) != np.uint64(0)
            word >>= np.uint64(1)

    return n_valid


@kernel
def take_finite(strip: Any, n_rows: int, tallies: Any) -> int:
    """Move the finite values of a strip to its front, and count the others by kind.

    Returns:
        How many values are finite.
    """
    n_finite = 0
    n_nan = 0
    n_high = 0
    for i in range(n_rows):
        value = strip[i]
        strip[np.uintp(n_finite)] = value
        n_finite += abs(value) < np.inf
        n_nan += value != value
        n_high += value == np.inf

    tallies[0] += n_nan
    tallies[1] += n_high
    tallies[2] += n_rows - n_finite - n_nan - n_high

    return n_finite


@kernel
def sum_moments(strip: Any, n_rows: int, pivot: float, moments: Any) -> None:
    """Add up distances from the pivot and their squares, and note the extremes.

    Sums of `MOMENT_STRIP` values are added with what rounding loses. No value then goes through
    more than 21 roundings, where a pairwise sum of a batch of 65,536 has 28.

    Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen"
    (1974).
    """
    place = 2 + 2 * MOMENT_LANES

    for start in range(0, n_rows, MOMENT_STRIP):
        size = min(MOMENT_STRIP, n_rows - start)
        n_vectors = size // MOMENT_LANES
        address = strip.ctypes.data + 8 * start

        add_moments(address, n_vectors, pivot, moments.ctypes.data)

        for k in range(2):
            add_rest(moments, place + 2 * k, moments[k])

        # What does not fill a vector.
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
def add_rest(totals: Any, place: int, more: float) -> None:
    """Add a number to a sum, and what the sum loses by rounding to its rest, the next number.

    Source: D. Knuth, "The Art of Computer Programming" volume 2 (1969), section 4.2.2, theorem B.
    """
    before = totals[place]
    after = before + more
    share = after - before
    totals[place] = after
    totals[place + 1] += (before - (after - share)) + (more - share)


@kernel
def hash_values(bits: Any, n_rows: int, most: Any, mixed: Any) -> int:
    """Hash float64 values, see `profiles.hashes`.

    Args:
        bits: The values' bits.
        n_rows: How many there are.
        most: Hashes above it are not wanted.
        mixed: Receives the hashes, first those that may be wanted.

    Returns:
        How many may be wanted.
    """
    # The last step leaves the 31 highest bits as they are: it is taken where they do not exclude.
    ceiling = most | np.uint64(0x1FFFFFFFF)

    n_below = 0
    for i in range(n_rows):
        value = bits[i] + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed[i] = value
        n_below += value <= ceiling

    if n_below == n_rows:
        for i in range(n_rows):
            mixed[i] ^= mixed[i] >> np.uint64(31)
    elif n_below:
        place = 0
        for i in range(n_rows):
            value = mixed[i]
            mixed[np.uintp(place)] = value ^ (value >> np.uint64(31))
            place += value <= ceiling

    return n_below


@kernel
def keep_hash(hashes: Any, value: Any) -> int:
    """Put a hash into the table.

    Returns:
        1 if it is new, else 0.
    """
    if value == np.uint64(0):
        is_new = hashes[HASH_ZERO] == np.uint64(0)
        hashes[HASH_ZERO] = np.uint64(1)
        return 1 if is_new else 0

    slot = value & np.uint64(HASH_SLOTS - 1)
    while hashes[slot] != value:
        if hashes[slot] == np.uint64(0):
            hashes[slot] = value
            return 1
        slot = (slot + np.uint64(1)) & np.uint64(HASH_SLOTS - 1)

    return 0


@kernel
def keep_least(hashes: Any) -> Any:
    """Leave the `LEAST_HASHES` least hashes in the table.

    Returns:
        The greatest of them, which bisection finds.
    """
    low = np.uint64(0)

    high = np.uint64(0xFFFFFFFFFFFFFFFF)
    while low < high:
        middle = low + ((high - low) >> np.uint64(1))
        n_below = np.int64(hashes[HASH_ZERO])

        for i in range(HASH_SLOTS):
            n_below += (hashes[i] <= middle) & (hashes[i] != np.uint64(0))

        if n_below >= LEAST_HASHES:
            high = middle
        else:
            low = middle + np.uint64(1)

    n_left = 0
    for i in range(HASH_SLOTS):
        if hashes[i] != np.uint64(0) and hashes[i] <= high:
            hashes[np.uintp(HASH_KNOWN + n_left)] = hashes[i]
            n_left += 1
        hashes[i] = np.uint64(0)

    for i in range(n_left):
        keep_hash(hashes, hashes[np.uintp(HASH_KNOWN + i)])

    return high


@kernel
def find_cells(strip: Any, n_rows: int, limits: Any, cells: Any) -> None:
    """Write the cell of each finite value into the lowest bits, see `search_trees.edge_cells`."""
    origin, scale = limits[LIMIT_ORIGIN], limits[LIMIT_SCALE]
    places = array_at(np.float64(0), cells.ctypes.data, STRIP_VALUES)

    for i in range(n_rows):
        place = (strip[i] - origin) * scale
        place = place if place > 0.0 else 0.0
        place = place if place < CELLS - 1.0 else CELLS - 1.0
        places[i] = place + 2.0**52  # the integer in the lowest bits, as wide as a vector's lanes


@kernel
def find_bins_of_cells(strip: Any, n_rows: int, first_bins: Any, edges: Any, bins: Any) -> None:
    """Write the bin of each finite value in the place of its cell."""
    for i in range(n_rows):
        first_bin = np.uint64(first_bins[np.uintp(np.uint16(bins[i]))])
        bins[i] = first_bin + np.uint64(edges[np.uintp(first_bin)] < strip[i])


@kernel
def find_bins(strip: Any, n_rows: int, root: Any, n_levels: int, bins: Any) -> None:
    """Write the bin of each finite value: how many edges are below it.

    Args:
        strip: Values.
        n_rows: How many there are.
        root: Address of the tree of edges, see `search_trees.edge_tree`.
        n_levels: Levels of the tree.
        bins: Receives the bins.
    """
    node_bytes = 8 * BIN_FANOUT
    n_children = BIN_FANOUT + 1

    # Most columns have two levels or three. Without a loop over levels they take a third less time.
    if n_levels == 2:
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

    What rounding loses is added up by itself. A bin has `BIN_COPIES` copies of each sum, used in
    turns: without them equal values would wait for one another.

    Source: W. Kahan, "Further remarks on reducing truncation errors" (1965).
    """
    for i in range(n_rows):
        value = strip[i]
        place = np.uint64(i & (BIN_COPIES - 1)) * n_bins + bins[i]
        before = sums[place]
        after = before + value
        rows[place] += 1
        sums[place] = after
        rests[place] += value - (after - before)
