"""Expected errors of predicted numbers, from the rows and the errors by bin of the prediction.

MAE, mean squared error and bias are means over rows: of |e|, e^2 and e, where e is prediction minus
label. The baseline has the mean x_b of each among its m_b labelled rows of bin b. With q_b rows in
the bins, of n in all, the estimate is sum q_b x_b / n, and its variance that of the labels to come
and that of the baseline's:

    sum over b of v_b (q_b + q_b^2 / m_b) / n^2,    v_b: variance of one row's |e|, e^2 or e

v_b follows from sums, too: of squares for |e| and e, of fourth powers for e^2. Where a few bins
make up most of the variance, it has fewer degrees of freedom, and the band is wider.

Source: NannyML, "Direct loss estimation" (documentation, 2022), for estimates of errors from
labelled data; it fits a model of the error, and its bands have only the first of both terms.
F. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components" (1946).

All arrays end with the axis of the bins. Axes before it are cases.
"""

from typing import NamedTuple

import numpy as np

from nightscore.profiles.bins import Floats


class ErrorBins(NamedTuple):
    """What is known of the rows in each bin."""

    rows: Floats
    labelled: Floats
    """Labelled rows of the baseline, from which the means are."""
    errors: Floats
    """Means of the error."""
    absolute: Floats
    """Means of its size."""
    squares: Floats
    """Means of its square."""
    fourths: Floats
    """Means of its fourth power."""


class ExpectedMean(NamedTuple):
    """A mean over rows and its spread, without the axis of the bins. NaN where undefined."""

    value: Floats
    variance: Floats
    freedom: Floats
    """Degrees of freedom of the variance, which is an estimate too."""


def expected_errors(bins: ErrorBins) -> dict[str, ExpectedMean]:
    """MAE, mean squared error and bias as `mae`, `mse` and `bias`."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return {
            "mae": _mean_of(bins, bins.absolute, bins.squares),
            "mse": _mean_of(bins, bins.squares, bins.fourths),
            "bias": _mean_of(bins, bins.errors, bins.squares),
        }


def _mean_of(bins: ErrorBins, means: Floats, squares: Floats) -> ExpectedMean:
    """The mean over the rows of a number of which the bins' means and mean squares are known."""
    rows, labelled = bins.rows, bins.labelled
    n_rows = rows.sum(-1)
    value = (rows * means).sum(-1) / n_rows

    # m / (m - 1) takes the bias from the variance of m rows.
    correction = np.where(labelled > 1, labelled / np.maximum(labelled - 1, 1), 1.0)
    variances = np.maximum(squares - np.square(means), 0.0) * correction
    n_open = rows + np.square(rows) / np.maximum(labelled, 1)
    parts = np.where(rows > 0, variances * n_open, 0.0) / np.square(n_rows)[..., np.newaxis]

    variance = parts.sum(-1)
    n_filled = np.maximum((rows > 0).sum(-1), 1)
    excess = np.square(parts).sum(-1) - np.square(variance) / n_filled
    freedom = np.where(excess > 0, 2 * np.square(variance) / excess, np.inf)

    return ExpectedMean(value, variance, freedom)
