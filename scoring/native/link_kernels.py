"""From sums to probabilities, by C's own functions."""

import math
from typing import Any

import numpy as np

from nightscore.native.compilation import kernel


@kernel
def expit(values: Any, out: Any) -> None:
    """Write the logistic function of each value, as SciPy's `expit` computes it."""
    for i in range(values.size):
        out[i] = 1.0 / (1.0 + math.exp(-values[i]))


@kernel
def sigmoid32(values: Any, out: Any) -> None:
    """Write XGBoost's logistic function of each float32 value."""
    one = np.float32(1.0)
    for i in range(values.size):
        x = min(-values[i], np.float32(88.7))
        out[i] = one / (math.exp(x) + one + np.float32(1e-16))


@kernel
def exp(values: Any, out: Any) -> None:
    """Write C's `exp` or `expf` of each value."""
    for i in range(values.size):
        out[i] = math.exp(values[i])


@kernel
def log1p_exp(values: Any, out: Any) -> None:
    """Write log(1 + exp(x)) of each value, by C's own functions."""
    for i in range(values.size):
        out[i] = math.log1p(math.exp(values[i]))


@kernel
def softmax(values: Any, out: Any) -> None:
    """Write the softmax of each row.

    The sum is float64 and starts at the first class, as in LightGBM and XGBoost.

    Args:
        values: (rows, classes).
        out: The same shape.
    """
    for i in range(values.shape[0]):
        greatest = values[i, 0]

        for k in range(1, values.shape[1]):
            greatest = max(greatest, values[i, k])

        total = 0.0
        for k in range(values.shape[1]):
            out[i, k] = math.exp(values[i, k] - greatest)
            total += np.float64(out[i, k])

        divisor = out.dtype.type(total)

        for k in range(values.shape[1]):
            out[i, k] = out[i, k] / divisor
