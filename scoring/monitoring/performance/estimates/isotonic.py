"""Isotonic regression: the ascending values that are nearest to given ones."""

import numpy as np

from nightscore.profiles.bins import Floats


def isotonic(values: Floats, weights: Floats) -> Floats:
    """The ascending values with the least sum of weighted squared distances.

    Neighbours that are in the wrong order are pooled, until none are.

    Source: M. Ayer et al., "An empirical distribution function for sampling with incomplete
    information" (1955).

    Args:
        values: Shape (n,).
        weights: Shape (n,), positive.
    """
    means: list[float] = []
    totals: list[float] = []
    lengths: list[int] = []

    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        totals.append(weight)
        lengths.append(1)

        while len(means) > 1 and means[-2] >= means[-1]:
            mean, total, length = means.pop(), totals.pop(), lengths.pop()
            pooled = totals[-1] + total
            means[-1] = (means[-1] * totals[-1] + mean * total) / pooled
            totals[-1] = pooled
            lengths[-1] += length

    return np.repeat(means, lengths)
