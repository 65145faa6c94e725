"""Sizes that the kernels and their callers agree on."""

BLOCK_ROWS = 64
"""Rows that are scored at once: the bits of a word."""
STRIP_BLOCKS = 8
"""Blocks that one tree is applied to before the next. 512 rows of 30 features are 15 KiB of
codes."""
FANOUT = 16
"""Thresholds compared at once: two AVX-512 registers of float64."""

NAN_SEEN, INFINITE_SEEN = 1, 2
"""Flags of what `rank_column` and `order_column` saw."""
SUBTRACT, DIVIDE, MULTIPLY, ADD = range(4)
"""Operations on a number before a linear model sees it."""

BIN_FANOUT = 8
"""Edges of bins compared at once: one AVX-512 register of float64.

Two levels hold 80 edges, and a profile has about 71.
"""
CELLS = 2_048
"""Cells of equal width between the first and the last edge of a column's bins: 4 KiB of numbers.

Fine and decile edges of normal values are at least two cells apart.
"""
BIN_COPIES = 4
"""Copies of each bin's sums. They are a power of two."""
MOMENT_LANES = 16
"""Sums side by side: two AVX-512 registers of float64.

They are enough that no addition waits for the one before.
"""
MOMENT_STRIP = 256
"""Values added up before the rounding error is kept: 16 additions per lane, then 4 of the lanes."""
STRIP_VALUES = 512
"""Values of a column that are counted at once: 4 KiB."""
WORD_ROWS = 64
"""Bits of a word of Arrow's bitmaps."""

LEAST_HASHES = 128
"""Hashes from which the number of distinct values is estimated, see `profiles.hashes`."""
HASH_SLOTS, MOST_HASHES = 1_024, 512
"""Slots of the table of candidates for the least hashes, and how many are used at most.

A table that is half full has a free slot nearby. It takes 8 KiB.
"""
HASH_ZERO = HASH_SLOTS
"""Place after the table that says whether the hash 0 is among them: 0 is a free slot."""
HASH_KNOWN = HASH_ZERO + 1
"""Place of the first of the hashes that are known already."""
HASH_COUNT, HASH_MOST = HASH_KNOWN + LEAST_HASHES, HASH_KNOWN + LEAST_HASHES + 1
"""Places of the number of hashes in the table, and of the greatest that is still wanted, or 0: all
are. The next call goes on from there."""
HASH_PLACES = HASH_MOST + 1
"""Numbers of the table and what follows it."""

PLACE_VALUES, PLACE_ROWS, PLACE_BITS, PLACE_BYTES, PLACE_FIRST_BIT = range(5)
"""What says where a column is: the address of its values, their number, the address and size of
Arrow's bitmap of nulls, and the bit of the first value. The bit is negative if there are no
nulls."""
SEARCH_TREE, SEARCH_LEVELS, SEARCH_EDGES, SEARCH_CELLS, SEARCH_N_CELLS = range(5)
"""What says how a column's bins are found, see `search_trees.BinSearch`: the address of the tree,
its levels, the addresses of the edges and of the cells' bins, and how many cells there are."""
LIMIT_PIVOT, LIMIT_LOW, LIMIT_HIGH, LIMIT_ORIGIN, LIMIT_SCALE = range(5)
"""Numbers that say how a column is counted: what is subtracted before squares are taken, the
bounds, and what turns a value into the number of its cell."""
COLUMNS_TOGETHER = 16
"""Columns that are counted in one call: their buffers are 256 KiB, which the second cache holds."""
