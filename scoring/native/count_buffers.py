"""The memory that `column_kernels.count_numbers` works in, and what it leaves there."""

from dataclasses import dataclass
from typing import Any, Self

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CountBuffers:
    """The memory of one call: 24 KiB.

    Making it takes less time than keeping one for each thread.
    """

    n_known: int
    hashes: Hashes
    strip: Floats
    mixed: Hashes
    rows: Counts
    sums: Floats
    rests: Floats
    tallies: Counts
    moments: Floats

    @classmethod
    def for_bins(cls, n_bins: int, known_hashes: Hashes | None) -> Self:
        """The buffers before a call.

        Args:
            n_bins: One more than there are edges.
            known_hashes: The least hashes so far, ascending, without duplicates, at most
                `LEAST_HASHES`. None: hashes are not wanted.
        """
        n_known = 0
        hashes = np.empty(0, np.uint64)

        if known_hashes is not None:
            n_known = len(known_hashes)
            first = HASH_SLOTS + 1
            hashes = np.zeros(first + LEAST_HASHES, np.uint64)
            hashes[first : first + n_known] = known_hashes

        moments = np.zeros(SQUARES + 2)
        moments[LEAST] = np.inf
        moments[GREATEST] = -np.inf

        return cls(
            n_known=n_known,
            hashes=hashes,
            strip=np.empty(STRIP_VALUES),
            mixed=np.empty(STRIP_VALUES, np.uint64),
            rows=np.zeros(BIN_COPIES * n_bins, np.int64),
            sums=np.zeros(BIN_COPIES * n_bins),
            rests=np.zeros(BIN_COPIES * n_bins),
            tallies=np.zeros(4, np.int64),
            moments=moments,
        )

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The kernel's last arguments."""
        return (
            self.n_known,
            self.hashes,
            self.strip,
            self.strip.view(np.uint64),
            self.mixed,
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
