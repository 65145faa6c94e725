"""Estimators from pickles and skops files, which scikit-learn's and LightGBM's flavors have."""

import pickle
import sys
import warnings
from typing import Any

from nightscore.errors import ModelError, ModelLoadError
from nightscore.models.mlmodel import MlModel
from nightscore.models.structure.sklearn_estimators import check_estimator, guard_lightgbm
from nightscore.models.structure.sklearn_pipelines import walk_estimators
from nightscore.models.structure.skops_types import load_skops


def load_pickled(mlmodel: MlModel, name: str, key: str) -> Any:
    """The estimator whose file a flavor names under a key; see `load_estimator`."""
    flavor = mlmodel.flavors[name]
    path = mlmodel.file(str(flavor.get(key, "model.pkl")))
    if code := flavor.get("code"):
        sys.path.insert(0, str(mlmodel.file(str(code))))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a version that differs is a warning of the run
            if flavor.get("serialization_format") == "skops":
                estimator = load_skops(path, is_vouched=mlmodel.is_vouched)
            else:
                with path.open("rb") as file:
                    estimator = _Unpickler(file).load()
            check_estimator(estimator, str(path))
            _use_one_thread(estimator)
            return estimator
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        trained = ", ".join(f"{name} {version}" for name, version in mlmodel.trained_with.items())
        raise ModelLoadError(
            "The model cannot be loaded.",
            str(path),
            expected=f"the libraries it was trained with: {trained}",
            found=f"{type(error).__name__}: {error}",
            next_step="install the versions that it was trained with, or log it again with these",
        ) from error


class _Unpickler(pickle.Unpickler):
    """Has LightGBM read a model's text only after it was looked at."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("lightgbm."):
            guard_lightgbm()
        return super().find_class(module, name)


def _use_one_thread(estimator: Any) -> None:
    """The pool has one worker a core already; and a forest's sum has one order only with one thread."""
    for found in walk_estimators(estimator):
        is_booster = type(found).__module__.startswith(
            ("lightgbm.", "xgboost.")
        )  # None means all cores there
        if getattr(found, "n_jobs", 1) not in (1, None) or is_booster:
            found.n_jobs = 1
        # A search, or a vote, also keeps the one that it has made copies of, which is not fitted.
        if (
            is_booster
            and hasattr(found, "get_booster")
            and getattr(found, "_Booster", None) is not None
        ):
            found.get_booster().set_param({"nthread": 1})
