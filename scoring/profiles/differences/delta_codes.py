"""A histogram of differences whose bins are as wide as their values are large.

The bin of a number is the first 16 bits of its float32: sign, exponent and seven bits of the
fraction. Bins are the same for all data, so histograms are added up. A bin is 1/128 of its lower
end wide, so its middle is at most 1/256 (0.4 %) from any number in it.

Source: C. Masson, J. Rim, H. Lee, "DDSketch: A fast and fully-mergeable quantile sketch with
relative-error guarantees" (VLDB 2019), with bins from a table of powers of two.
"""

import numpy as np
import numpy.typing as npt

from nightscore.profiles.bins import Counts, Floats

N_CODES = 1 << 16
RELATIVE_ERROR = 1 / 256
"""Of a quantile, at most, of numbers from 1.2e-38 to 3.4e38. Smaller ones count as equal to zero's
neighbours, larger ones as 3.4e38."""
WAITING_CODES = 262_144
"""Codes that are counted at once. Their table has 65,536 places, which are cleared and added."""
_MOST = np.finfo(np.float32).max


def delta_codes(deltas: Floats) -> npt.NDArray[np.uint16]:
    """The bin of each difference, shape (n,). The bin 0 is of zero and what is below 1e-40."""
    with np.errstate(over="ignore"):
        single = deltas.astype(np.float32)
    np.clip(single, -_MOST, _MOST, out=single)
    single += np.float32(0)  # -0 is zero

    bits = single.view(np.uint32)
    bits >>= np.uint32(16)
    return bits.astype(np.uint16)


def middles(codes: Counts) -> Floats:
    """The middle of each bin, shape (n,); of the bin 0 zero."""
    low = (codes.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    middle = (codes.astype(np.uint32) << np.uint32(16)) + np.uint32(1 << 15)
    return np.where(low == 0, 0.0, middle.view(np.float32).astype(np.float64))


class CodeCounts:
    """Counts codes, many at once."""

    def __init__(self) -> None:
        """Begin without codes."""
        self._counts = np.zeros(N_CODES, np.int64)
        self._waiting: list[npt.NDArray[np.uint16]] = []
        self._n_waiting = 0

    def add(self, codes: npt.NDArray[np.uint16]) -> None:
        """Add the codes of some rows, shape (n,)."""
        self._waiting.append(codes)
        self._n_waiting += len(codes)
        if self._n_waiting >= WAITING_CODES:
            self._flush()

    def take(self) -> Counts:
        """The counts so far, which begin at zero again."""
        self._flush()
        counts, self._counts = self._counts, np.zeros_like(self._counts)
        return counts

    def _flush(self) -> None:
        if self._waiting:
            codes = np.concatenate(self._waiting)
            self._counts += np.bincount(codes, minlength=len(self._counts))
        self._waiting, self._n_waiting = [], 0
