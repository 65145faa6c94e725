"""From the sums of trees or of a linear model to predictions and probabilities, by numbers and names alone."""

from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]
Function = Literal["identity", "exp", "expit", "half_expit", "softmax", "one_vs_rest", "mean", "none"]


@dataclass(frozen=True, slots=True)
class Link:
    """What becomes of sums; `answer` does it."""

    function: Function
    """`exp`: of log links. `expit`: 1 / (1 + exp(-x)), of two classes; `half_expit`: of 2 x (exponential loss).
    `softmax`: of more classes. `one_vs_rest`: expit of each class, divided by their sum. `mean`: sums are shares of
    classes, or values, of so many trees as `divisor` says. `none`: there are scores and classes, no probabilities."""
    classes: npt.NDArray[Any] | None = None
    """Of a classifier, in the order of its columns."""
    zero_is_second: bool = False
    """Which of two classes a score of exactly 0 means."""
    divisor: int = 0
    """0: sums are what they are."""


def answer(link: Link, sums: npt.NDArray[np.float64], kinds: Collection[str], kernels: ModuleType) -> Columns:
    """The outputs of `kinds`, and the prediction.

    Args:
        link: Of the model.
        sums: (n_columns, n_rows), float64.
        kinds: What is wanted besides `prediction`: `probability`, `decision`, `raw`.
        kernels: The machine code.

    Returns:
        Kind to an array of shape (n_rows, n_columns). Two classes have one column of scores, two of probabilities.
    """
    if link.function == "mean":
        return _mean(link, np.ascontiguousarray(sums.T), kinds)
    raw = np.asfortranarray(sums.T)
    found: Columns = {kind: raw for kind in ("decision", "raw") if kind in kinds}
    if link.classes is None:
        found["prediction"] = _inverse(link, raw, kernels)
        return found
    if "probability" in kinds:
        found["probability"] = _probabilities(link, raw, kernels)
    if raw.shape[1] == 1:
        chosen = (raw[:, 0] >= 0 if link.zero_is_second else raw[:, 0] > 0).astype(int)
    else:
        chosen = raw.argmax(axis=1)
    found["prediction"] = link.classes[chosen].reshape(-1, 1)
    return found


def _mean(link: Link, mean: npt.NDArray[np.float64], kinds: Collection[str]) -> Columns:
    if link.divisor:
        mean /= link.divisor
    if link.classes is None:
        return {"prediction": mean}
    found: Columns = {"probability": mean} if "probability" in kinds else {}
    found["prediction"] = link.classes.take(mean.argmax(axis=1), axis=0).reshape(-1, 1)
    return found


def _inverse(link: Link, raw: npt.NDArray[np.float64], kernels: ModuleType) -> npt.NDArray[np.float64]:
    if link.function == "exp":
        return np.exp(raw)
    if link.function == "expit":
        return _expit(raw, kernels)
    return raw


def _probabilities(link: Link, raw: npt.NDArray[np.float64], kernels: ModuleType) -> npt.NDArray[np.float64]:
    """(n_rows, n_classes), by the operations of scikit-learn's losses and linear classifiers, in their order."""
    if link.function == "softmax":
        found = raw.copy()  # contiguous by rows: so the sum of a row has the library's order
        found -= found.max(axis=1)[:, None]
        np.exp(found, out=found)
        found /= found.sum(axis=1)[:, None]
        return found
    if raw.shape[1] == 1:
        second = _expit(2 * raw if link.function == "half_expit" else raw, kernels)[:, 0]
        return np.column_stack([1 - second, second])
    found = _expit(np.ascontiguousarray(raw), kernels)
    total = found.sum(axis=1)
    none = total == 0
    found[none] = 1
    total[none] = found.shape[1]
    found /= total[:, None]
    return found


def _expit(values: npt.NDArray[np.float64], kernels: ModuleType) -> npt.NDArray[np.float64]:
    """Of each value, in C's own `exp` as SciPy's: NumPy's differs in the last bit."""
    out = np.empty_like(values)
    kernels.expit(np.ravel(values, order="K"), np.ravel(out, order="K"))
    return out
