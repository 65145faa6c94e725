"""The memory that `wide_kernels.count_columns` works in, and what it leaves there."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import (
    BIN_COPIES,
    HASH_KNOWN,
    HASH_PLACES,
    HASH_SLOTS,
    HASH_ZERO,
    MOMENT_LANES,
    STRIP_VALUES,
)

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

LEAST = slice(2, 2 + MOMENT_LANES)
"""Places of the least value of each lane among the moments."""
GREATEST = slice(2 + MOMENT_LANES, 2 + 2 * MOMENT_LANES)
"""Places of the greatest value of each lane."""
SHIFTED = 2 + 2 * MOMENT_LANES
"""Place of the sum of distances from the pivot. Its rest follows."""
SQUARES = SHIFTED + 2
"""Place of the sum of the squares of these distances. Its rest follows."""


class CountBuffers:
    """The memory of one call after another: 16 KiB a column. One thread uses it at a time."""

    def __init__(self, n_bins: int, *, with_hashes: bool, n_columns: int = 1) -> None:
        """Take memory.

        Args:
            n_bins: One more than there are edges.
            with_hashes: Whether hashes are wanted.
            n_columns: Columns that are counted in one call at most.
        """
        n_places = BIN_COPIES * n_bins
        n_hashes = HASH_PLACES if with_hashes else 0

        self.hashes: Hashes = np.zeros((n_columns, n_hashes), np.uint64)
        self.rows: Counts = np.zeros((n_columns, n_places), np.int64)
        self.sums: Floats = np.zeros((n_columns, n_places))
        self.rests: Floats = np.zeros((n_columns, n_places))
        self.tallies: Counts = np.zeros((n_columns, 4), np.int64)
        self.moments: Floats = np.zeros((n_columns, SQUARES + 2))
        self.n_new: Counts = np.zeros(n_columns, np.int64)
        """New hashes of each column."""

        self._strip = np.empty(STRIP_VALUES)
        self._mixed = np.empty(STRIP_VALUES, np.uint64)
        self.empty(n_columns)

    def empty(self, n_columns: int) -> None:
        """Forget what was counted of the first columns."""
        self.hashes[:n_columns] = 0
        self.empty_counts(n_columns)

    def empty_counts(self, n_columns: int) -> None:
        """Forget it but for the hashes: the next call adds to these."""
        for memory in (self.rows, self.sums, self.rests, self.tallies, self.moments):
            memory[:n_columns] = 0

        self.moments[:n_columns, LEAST] = np.inf
        self.moments[:n_columns, GREATEST] = -np.inf

    def know(self, column: int, hashes: Hashes) -> None:
        """Hand over the least hashes of a column so far.

        Args:
            column: Its place.
            hashes: Ascending, without duplicates, at most `LEAST_HASHES`.
        """
        self.hashes[column, HASH_KNOWN : HASH_KNOWN + len(hashes)] = hashes

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The kernel's last arguments. They stay the same."""
        return (
            self.hashes,
            self._strip,
            self._mixed,
            self.rows,
            self.sums,
            self.rests,
            self.tallies,
            self.moments,
            self.n_new,
        )

    def counts(self, n_columns: int) -> Counts:
        """Finite values in each bin of the first columns, shape (columns, bins)."""
        copies = self.rows[:n_columns].reshape(n_columns, BIN_COPIES, -1)
        return np.asarray(copies.sum(axis=1))

    def bin_sums(self, n_columns: int) -> Floats:
        """The sum of the finite values in each bin, of the same shape."""
        shape = (n_columns, BIN_COPIES, -1)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.sums[:n_columns].reshape(shape).sum(axis=1)
            rests = self.rests[:n_columns].reshape(shape).sum(axis=1)
            return np.asarray(np.where(np.isfinite(sums), sums + rests, sums))

    def extremes(self, n_columns: int) -> tuple[Floats, Floats]:
        """Least and greatest finite value of each column; inf and -inf without one."""
        moments = self.moments[:n_columns]
        return moments[:, LEAST].min(axis=1), moments[:, GREATEST].max(axis=1)

    def shifted(self, n_columns: int) -> Floats:
        """The sum of the finite values' distances from the pivot, of each column."""
        return self._totals(SHIFTED, n_columns)

    def squares(self, n_columns: int) -> Floats:
        """The sum of the squares of these distances."""
        return self._totals(SQUARES, n_columns)

    def candidate_hashes(self, column: int) -> Hashes:
        """All hashes of a column that may be among the least, in any order."""
        table = self.hashes[column, :HASH_SLOTS]
        has_zero = int(self.hashes[column, HASH_ZERO])
        return np.append(table[table > 0], np.zeros(has_zero, np.uint64))

    def _totals(self, place: int, n_columns: int) -> Floats:
        totals, rests = self.moments[:n_columns, place], self.moments[:n_columns, place + 1]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.where(np.isfinite(totals), totals + rests, totals))
