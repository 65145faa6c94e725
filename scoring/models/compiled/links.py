"""From the sums of trees or of a linear model to predictions and probabilities.

A link says by numbers and names alone what follows from sums.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nightscore.native.machine_code import Kernels

Columns = dict[str, npt.NDArray[Any]]
Function = Literal[
    "identity", "exp", "expit", "half_expit", "softmax", "one_vs_rest", "mean", "none"
]

BoosterFunction = Literal[
    "none", "identity", "exp", "sigmoid", "softmax", "square", "log1p_exp", "hinge", "argmax"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What follows from sums. `answer` applies it."""

    function: Function
    """What scikit-learn makes of a sum.

    `exp`: log links. `expit`: 1 / (1 + exp(-x)), of two classes. `half_expit`: of 2 x (exponential
    loss). `softmax`: of more classes. `one_vs_rest`: expit of each class, divided by their sum.
    `mean`: sums are shares of classes, or values, of `divisor` trees. `none`: there are scores and
    classes, but no probabilities.
    """
    classes: npt.NDArray[Any] | None = None
    """Classes of a classifier, in the order of its columns."""
    zero_is_second: bool = False
    """A score of exactly 0 means the second of two classes."""
    is_by_column: bool = False
    """The library holds the sums column by column. NumPy then adds up the classes of a row in their
    order; else it adds up eight numbers side by side from eight classes on."""
    divisor: int = 0
    """What sums are divided by; 0: nothing."""
    library: Literal["scikit-learn", "lightgbm", "xgboost"] = "scikit-learn"
    of_booster: BoosterFunction = "none"
    """What the objective of LightGBM or XGBoost makes of a sum, in place of `function`.

    `square`: with the sum's sign. `argmax`: the number of the greatest.
    """
    scale: float = 1.0
    """Factor of scores in front of a sigmoid."""


def answer(
    link: Link, sums: npt.NDArray[np.float64], kinds: Collection[str], kernels: Kernels
) -> Columns:
    """The outputs of `kinds`, and the prediction.

    Args:
        link: The model's link.
        sums: (n_columns, n_rows), float64; of XGBoost float32.
        kinds: What is wanted besides `prediction`: `probability`, `decision`, `raw`.
        kernels: The machine code.

    Returns:
        Kind to an array of shape (n_rows, n_columns). Two classes have one column of scores and two
        of probabilities.
    """
    if link.library != "scikit-learn":
        return booster_answer(link, sums, kinds, kernels)
    if link.function == "mean":
        return _mean(link, np.ascontiguousarray(sums.T), kinds)

    raw = np.asfortranarray(sums.T)
    columns: Columns = {kind: raw for kind in ("decision", "raw") if kind in kinds}

    if link.classes is None:
        columns["prediction"] = _inverse(link, raw, kernels)
        return columns

    if "probability" in kinds:
        columns["probability"] = _probabilities(link, raw, kernels)

    if raw.shape[1] > 1:
        chosen = raw.argmax(axis=1)
    elif link.zero_is_second:
        chosen = (raw[:, 0] >= 0).astype(int)
    else:
        chosen = (raw[:, 0] > 0).astype(int)

    columns["prediction"] = link.classes[chosen].reshape(-1, 1)
    return columns


def booster_answer(
    link: Link, sums: npt.NDArray[Any], kinds: Collection[str], kernels: Kernels
) -> Columns:
    """The same as `answer`, by the operations of LightGBM's and XGBoost's objectives.

    They have the libraries' order and precision. LightGBM's random forests divide by the number of
    trees in front of the objective, and not in raw scores.
    """
    raw = np.ascontiguousarray(sums.T)
    columns: Columns = {kind: raw for kind in ("decision", "raw") if kind in kinds}
    mean = raw

    if link.divisor:
        mean = raw / link.divisor

    transformed = _transformed(link, mean, kernels)

    if link.classes is None:
        columns["prediction"] = transformed
        return columns

    if transformed.shape[1] == 1:
        probability = np.concatenate([1 - transformed, transformed], axis=1)
        chosen = (transformed[:, 0] > 0.5).astype(np.int64)
    else:
        probability = transformed
        chosen = transformed.argmax(axis=1)

    if "probability" in kinds:
        columns["probability"] = probability

    columns["prediction"] = link.classes[chosen].reshape(-1, 1)

    return columns


def _transformed(link: Link, raw: npt.NDArray[Any], kernels: Kernels) -> npt.NDArray[Any]:
    """What a booster's objective makes of sums."""
    function = link.of_booster
    if function == "identity":
        return raw
    if function == "square":
        return np.asarray(np.sign(raw) * raw * raw)
    if function == "hinge":
        return np.asarray(raw > 0, raw.dtype)
    if function == "argmax":
        return np.asarray(raw.argmax(axis=1), raw.dtype).reshape(-1, 1)

    return _by_kernel(link, raw, kernels)


def _by_kernel(link: Link, raw: npt.NDArray[Any], kernels: Kernels) -> npt.NDArray[Any]:
    function = link.of_booster
    out = np.empty_like(raw)

    if function == "softmax":
        kernels.softmax(raw, out)
    elif function == "exp":
        kernels.exp(raw.reshape(-1), out.reshape(-1))
    elif function == "log1p_exp":
        kernels.log1p_exp(raw.reshape(-1), out.reshape(-1))
    elif link.library == "xgboost":
        kernels.sigmoid32(raw.reshape(-1), out.reshape(-1))
    else:
        kernels.expit(link.scale * raw.reshape(-1), out.reshape(-1))

    return out


def _mean(link: Link, mean: npt.NDArray[np.float64], kinds: Collection[str]) -> Columns:
    if link.divisor:
        mean /= link.divisor
    if link.classes is None:
        return {"prediction": mean}

    columns: Columns = {}
    if "probability" in kinds:
        columns["probability"] = mean
    columns["prediction"] = link.classes.take(mean.argmax(axis=1), axis=0).reshape(-1, 1)
    return columns


def _inverse(link: Link, raw: npt.NDArray[np.float64], kernels: Kernels) -> npt.NDArray[np.float64]:
    if link.function == "exp":
        return np.exp(raw)
    if link.function == "expit":
        return _expit(raw, kernels)
    return raw


def _probabilities(
    link: Link, raw: npt.NDArray[np.float64], kernels: Kernels
) -> npt.NDArray[np.float64]:
    """Probabilities, (n_rows, n_classes).

    They follow the operations of scikit-learn's losses and linear classifiers, in their order.
    """
    if link.function == "softmax":
        return _softmax(raw, order="F" if link.is_by_column else "C")

    if raw.shape[1] == 1:
        scores = raw
        if link.function == "half_expit":
            scores = 2 * raw
        second = _expit(scores, kernels)[:, 0]
        return np.column_stack([1 - second, second])

    shares = _expit(np.ascontiguousarray(raw), kernels)
    total = shares.sum(axis=1)

    # All classes are equally likely if none is likely at all.
    is_none = total == 0
    shares[is_none] = 1
    total[is_none] = shares.shape[1]

    shares /= total[:, None]

    return shares


def _softmax(raw: npt.NDArray[np.float64], order: Literal["C", "F"]) -> npt.NDArray[np.float64]:
    # In the library's layout the sum of a row has the library's order.
    shares = raw.copy(order)
    shares -= shares.max(axis=1)[:, None]
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=1)[:, None]
    return shares


def _expit(values: npt.NDArray[np.float64], kernels: Kernels) -> npt.NDArray[np.float64]:
    """The logistic function by C's own `exp`, as in SciPy. NumPy's differs in the last bit."""
    out = np.empty_like(values)
    kernels.expit(np.ravel(values, order="K"), np.ravel(out, order="K"))
    return out
