"""Sizes that the kernels and their callers agree on."""

BLOCK_ROWS = 64
"""Rows that are scored at once: the bits of a word."""
STRIP_BLOCKS = 8
"""Blocks that one tree is applied to before the next: 512 rows of 30 features are 15 KiB of codes."""
FANOUT = 16
"""Thresholds compared at once: two AVX-512 registers of float64."""
BIN_FANOUT = 8
"""Edges of bins compared at once: one AVX-512 register of float64. Two levels hold 80, a profile's are about 71."""
BIN_COPIES = 4
"""Of the sums of each bin."""
MOMENT_LANES = 16
"""Sums side by side: two AVX-512 registers of float64, enough that no addition waits for the one before."""
MOMENT_STRIP = 256
"""Values added up before the rounding of what follows is kept: 16 additions a lane, then 4 of the lanes."""
STRIP_VALUES = 512
"""Of a column, that are counted at once: 4 KiB."""
WORD_ROWS = 64
"""Bits of a word of Arrow's bitmaps."""
LEAST_HASHES = 128
"""See `monitoring.distinct`."""
HASH_SLOTS, MOST_HASHES = 1_024, 512
"""Of the table of those that may be among them: half full at most, so that a free one is near. 8 KiB."""
NAN_SEEN, INFINITE_SEEN = 1, 2
"""What `rank_column` and `order_column` saw."""
SUBTRACT, DIVIDE, MULTIPLY, ADD = range(4)
"""What is done to a number in front of a linear model."""
