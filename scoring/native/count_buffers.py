"""The memory that `column_kernels.count_numbers` works in, and what it leaves there."""

from typing import Any

import numpy as np
import numpy.typing as npt

from nightscore.native.constants import (
    BIN_COPIES,
    HASH_SLOTS,
    LEAST_HASHES,
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
    """The memory of one call after another: 24 KiB. One thread uses it at a time."""

    def __init__(self, n_bins: int, *, with_hashes: bool) -> None:
        """Take memory.

        Args:
            n_bins: One more than there are edges.
            with_hashes: Whether hashes are wanted.
        """
        n_places = BIN_COPIES * n_bins
        n_hashes = HASH_SLOTS + 1 + LEAST_HASHES if with_hashes else 0
        sizes = [n_hashes, n_places, n_places, n_places, 4, SQUARES + 2]

        # They are emptied together.
        self._memory = np.zeros(sum(sizes))
        parts = np.split(self._memory, np.cumsum(sizes)[:-1])

        self.hashes: Hashes = parts[0].view(np.uint64)
        self.rows: Counts = parts[1].view(np.int64)
        self.sums, self.rests = parts[2], parts[3]
        self.tallies: Counts = parts[4].view(np.int64)
        self.moments = parts[5]

        self._strip = np.empty(STRIP_VALUES)
        self._mixed = np.empty(STRIP_VALUES, np.uint64)
        self.empty(None)

    def empty(self, known_hashes: Hashes | None) -> int:
        """Forget what was counted.

        Args:
            known_hashes: The least hashes so far, ascending, without duplicates, at most
                `LEAST_HASHES`. None: there are none.

        Returns:
            How many hashes are known.
        """
        self._memory[:] = 0.0
        self.moments[LEAST] = np.inf
        self.moments[GREATEST] = -np.inf

        if known_hashes is None:
            return 0

        first = HASH_SLOTS + 1
        self.hashes[first : first + len(known_hashes)] = known_hashes

        return len(known_hashes)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The kernel's last arguments. They stay the same."""
        return (
            self.hashes,
            self._strip,
            self._strip.view(np.uint64),
            self._mixed,
            self.rows,
            self.sums,
            self.rests,
            self.tallies,
            self.moments,
        )

    @property
    def counts(self) -> Counts:
        """Finite values in each bin."""
        return np.asarray(self.rows.reshape(BIN_COPIES, -1).sum(axis=0))

    @property
    def bin_sums(self) -> Floats:
        """The sum of the finite values in each bin."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.sums.reshape(BIN_COPIES, -1).sum(axis=0)
            rests = self.rests.reshape(BIN_COPIES, -1).sum(axis=0)
            return np.asarray(np.where(np.isfinite(sums), sums + rests, sums))

    @property
    def extremes(self) -> tuple[float, float]:
        """Least and greatest finite value; inf and -inf without one."""
        return float(self.moments[LEAST].min()), float(self.moments[GREATEST].max())

    @property
    def shifted(self) -> float:
        """The sum of the finite values' distances from the pivot."""
        return self._total(SHIFTED)

    @property
    def squares(self) -> float:
        """The sum of the squares of these distances."""
        return self._total(SQUARES)

    @property
    def candidate_hashes(self) -> Hashes:
        """All hashes that may be among the least, in any order."""
        table = self.hashes[:HASH_SLOTS]
        has_zero = int(self.hashes[HASH_SLOTS])
        return np.append(table[table > 0], np.zeros(has_zero, np.uint64))

    def _total(self, place: int) -> float:
        total, rest = self.moments[place : place + 2].tolist()
        return float(total + rest if np.isfinite(total) else total)
