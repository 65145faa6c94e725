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

LEAST, GREATEST = slice(2, 2 + MOMENT_LANES), slice(2 + MOMENT_LANES, 2 + 2 * MOMENT_LANES)
SHIFTED = 2 + 2 * MOMENT_LANES
SQUARES = SHIFTED + 2
"""Each followed by its rest."""


@dataclass(frozen=True, slots=True)
class CountBuffers:
    """Of one call: 24 KiB, which it takes less time to make than to keep apart by threads."""

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
        """Before the call.

        Args:
            n_bins: One more than there are edges.
            known_hashes: Hashes so far, ascending, without duplicates, at most `LEAST_HASHES`; None: none are wanted.
        """
        hashes = np.empty(0, np.uint64)
        if known_hashes is not None:
            hashes = np.zeros(HASH_SLOTS + 1 + LEAST_HASHES, np.uint64)
            hashes[HASH_SLOTS + 1 : HASH_SLOTS + 1 + len(known_hashes)] = known_hashes
        moments = np.zeros(SQUARES + 2)
        moments[LEAST], moments[GREATEST] = np.inf, -np.inf
        return cls(
            n_known=0 if known_hashes is None else len(known_hashes),
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
        """Of the kernel, the last ones."""
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
        """Of the finite values in each bin."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums, rests = (
                found.reshape(BIN_COPIES, -1).sum(axis=0) for found in (self.sums, self.rests)
            )
            return np.asarray(np.where(np.isfinite(sums), sums + rests, sums))

    @property
    def extremes(self) -> tuple[float, float]:
        """Least and greatest finite value; inf and -inf without one."""
        return float(self.moments[LEAST].min()), float(self.moments[GREATEST].max())

    @property
    def shifted(self) -> float:
        """Sum of the finite values' distances from the pivot."""
        return self._total(SHIFTED)

    @property
    def squares(self) -> float:
        """Sum of their squares."""
        return self._total(SQUARES)

    @property
    def candidate_hashes(self) -> Hashes:
        """All hashes that may be among the least, in no order."""
        table = self.hashes[:HASH_SLOTS]
        return np.append(table[table > 0], np.zeros(int(self.hashes[HASH_SLOTS]), np.uint64))

    def _total(self, place: int) -> float:
        total, rest = self.moments[place : place + 2].tolist()
        return float(total + rest if np.isfinite(total) else total)
