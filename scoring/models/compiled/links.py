"""From the sums of trees or of a linear model to predictions and probabilities, by numbers and names alone."""

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
    library: Literal["scikit-learn", "lightgbm", "xgboost"] = "scikit-learn"
    of_booster: BoosterFunction = "none"
    """Of LightGBM and XGBoost, in place of `function`: what their objective makes of a sum. `square`: with its sign.
    `argmax`: the number of the greatest."""
    scale: float = 1.0
    """Scores are multiplied by it in front of a sigmoid."""


def answer(
    link: Link, sums: npt.NDArray[np.float64], kinds: Collection[str], kernels: Kernels
) -> Columns:
    """The outputs of `kinds`, and the prediction.

    Args:
        link: Of the model.
        sums: (n_columns, n_rows), float64; of XGBoost float32.
        kinds: What is wanted besides `prediction`: `probability`, `decision`, `raw`.
        kernels: The machine code.

    Returns:
        Kind to an array of shape (n_rows, n_columns). Two classes have one column of scores, two of probabilities.
    """
    if link.library != "scikit-learn":
        return booster_answer(link, sums, kinds, kernels)
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


def booster_answer(
    link: Link, sums: npt.NDArray[Any], kinds: Collection[str], kernels: Kernels
) -> Columns:
    """As `answer`, by the operations of LightGBM's and XGBoost's objectives, in their order and precision.

    LightGBM's random forests divide by the number of trees in front of the objective, and not in raw scores.
    """
    raw = np.ascontiguousarray(sums.T)
    found: Columns = {kind: raw for kind in ("decision", "raw") if kind in kinds}
    made = _transformed(link, raw / link.divisor if link.divisor else raw, kernels)
    if link.classes is None:
        found["prediction"] = made
        return found
    if made.shape[1] == 1:
        probability = np.concatenate([1 - made, made], axis=1)
        chosen = (made[:, 0] > 0.5).astype(np.int64)
    else:
        probability = made
        chosen = made.argmax(axis=1)
    if "probability" in kinds:
        found["probability"] = probability
    found["prediction"] = link.classes[chosen].reshape(-1, 1)
    return found


def _transformed(link: Link, raw: npt.NDArray[Any], kernels: Kernels) -> npt.NDArray[Any]:
    function = link.of_booster
    if function == "identity":
        return raw
    if function == "square":
        return np.asarray(np.sign(raw) * raw * raw)
    if function == "hinge":
        return np.asarray(raw > 0, raw.dtype)
    if function == "argmax":
        return np.asarray(raw.argmax(axis=1), raw.dtype).reshape(-1, 1)
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
    found: Columns = {"probability": mean} if "probability" in kinds else {}
    found["prediction"] = link.classes.take(mean.argmax(axis=1), axis=0).reshape(-1, 1)
    return found


def _inverse(link: Link, raw: npt.NDArray[np.float64], kernels: Kernels) -> npt.NDArray[np.float64]:
    if link.function == "exp":
        return np.exp(raw)
    if link.function == "expit":
        return _expit(raw, kernels)
    return raw


def _probabilities(
    link: Link, raw: npt.NDArray[np.float64], kernels: Kernels
) -> npt.NDArray[np.float64]:
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


def _expit(values: npt.NDArray[np.float64], kernels: Kernels) -> npt.NDArray[np.float64]:
    """Of each value, in C's own `exp` as SciPy's: NumPy's differs in the last bit."""
    out = np.empty_like(values)
    kernels.expit(np.ravel(values, order="K"), np.ravel(out, order="K"))
    return out
