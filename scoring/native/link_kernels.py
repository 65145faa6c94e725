"""From sums to probabilities, by C's own functions."""

import math
from typing import Any

import numpy as np

from nightscore.native.compilation import kernel


@kernel
def expit(values: Any, out: Any) -> None:
    """The logistic function, as SciPy's `expit` computes it."""
    for i in range(values.size):
        out[i] = 1.0 / (1.0 + math.exp(-values[i]))


@kernel
def sigmoid32(values: Any, out: Any) -> None:
    """XGBoost's logistic function, of float32."""
    one = np.float32(1.0)
    for i in range(values.size):
        x = min(-values[i], np.float32(88.7))
        out[i] = one / (math.exp(x) + one + np.float32(1e-16))


@kernel
def exp(values: Any, out: Any) -> None:
    """By C's own `exp` or `expf`."""
    for i in range(values.size):
        out[i] = math.exp(values[i])


@kernel
def log1p_exp(values: Any, out: Any) -> None:
    """log(1 + exp(x)), by C's own functions."""
    for i in range(values.size):
        out[i] = math.log1p(math.exp(values[i]))


@kernel
def softmax(values: Any, out: Any) -> None:
    """Of each row, (rows, classes): the sum in float64, from the first class on, as LightGBM and XGBoost have it."""
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
