"""McNemar's test: whether two models put the same rows into other classes by more than chance."""

import math

import numpy as np


def mcnemar_exact(only_first_right: int, only_second_right: int) -> float:
    """The two-sided p-value of the exact test, from 0 to 1.

    Rows that both have right, or both wrong, say nothing. If both models are as good, each of the
    others is a fair coin.

    Source: Q. McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions
    or Percentages" (1947), with the binomial distribution instead of its normal approximation.

    Args:
        only_first_right: Rows that the first model alone has right.
        only_second_right: Rows that the second model alone has right.
    """
    n = only_first_right + only_second_right
    fewer = min(only_first_right, only_second_right)
    if n == 0:
        return 1.0

    # Logarithms of the terms of the binomial sum: C(n, k) grows by (n - k + 1) / k.
    steps = np.arange(1, fewer + 1, dtype=np.float64)
    terms = np.concatenate([[0.0], np.cumsum(np.log((n - steps + 1) / steps))])
    greatest = float(terms.max())
    tail = greatest + math.log(float(np.exp(terms - greatest).sum())) - n * math.log(2)

    return min(1.0, 2 * math.exp(min(tail, 0.0)))
