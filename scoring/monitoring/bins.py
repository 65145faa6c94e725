"""Bins of numbers, cut at a reference's quantiles, so that drift is seen where the reference has its rows."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FINE_BINS = 64
"""For distances between distributions."""
DECILE_BINS = 10
"""For tests of significance, which want many rows a bin."""


def quantile_edges(finite: Floats, n_bins: int) -> Floats:
    """Ascending edges `e`: bin 0 is `(-inf, e[0]]`, bin i `(e[i-1], e[i]]`, the last `(e[-1], inf)`.

    The inner quantiles of the reference; a quantile that stands at least twice in it gets a bin of its own, so that
    constants and spikes are seen. None for a reference without a finite value.

    Args:
        finite: Reference values, shape (n,), float64, without NaN and infinities.
        n_bins: Bins before the spikes' own are added.
    """
    if not len(finite):
        return np.empty(0, np.float64)
    ordered = np.sort(finite)
    quantiles = np.quantile(ordered, np.arange(n_bins + 1) / n_bins, method="linear")
    candidates = np.unique(quantiles)
    occurrences = np.searchsorted(ordered, candidates, "right") - np.searchsorted(ordered, candidates, "left")
    spikes = candidates[occurrences >= 2]
    return np.unique(np.concatenate([quantiles[1:-1], spikes, np.nextafter(spikes, -np.inf)]))


def count_bins(finite: Floats, edges: Floats) -> tuple[Counts, Floats]:
    """Rows and the sum of the values in each of the `len(edges) + 1` bins."""
    codes = np.searchsorted(edges, finite, side="left")
    counts = np.bincount(codes, minlength=len(edges) + 1).astype(np.int64)
    return counts, np.bincount(codes, weights=finite, minlength=len(edges) + 1).astype(np.float64)
