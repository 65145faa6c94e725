"""Loads estimators from pickles and skops files, for the flavors of scikit-learn and LightGBM."""

import pickle
import sys
import warnings
from typing import Any

from nightscore.errors import ModelError, ModelLoadError
from nightscore.models.mlmodel import MlModel
from nightscore.models.structure.guards import guard_lightgbm
from nightscore.models.structure.sklearn_estimators import check_estimator
from nightscore.models.structure.sklearn_pipelines import walk_estimators
from nightscore.models.structure.skops_types import load_skops


def load_pickled(mlmodel: MlModel, name: str, key: str) -> Any:
    """The estimator in the file that a flavor names.

    Args:
        mlmodel: Of verified artifacts.
        name: The flavor.
        key: The flavor's key that names the file.

    Raises:
        ModelLoadError: The file cannot be read.
        ModelStructureError: Its parts point outside of their arrays, or in circles.
        ModelRefusedError: A skops file holds types that are not on the list.
    """
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
    """Makes LightGBM read a model's text only after it was checked."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("lightgbm."):
            guard_lightgbm()
        return super().find_class(module, name)


def _use_one_thread(estimator: Any) -> None:
    """Let each estimator use one thread.

    The pool has one worker per core already, and a forest's sum has one order only with one thread.
    """
    for part in walk_estimators(estimator):
        is_booster = type(part).__module__.startswith(("lightgbm.", "xgboost."))
        # None means one thread in scikit-learn, but all cores in boosters.
        if is_booster or getattr(part, "n_jobs", 1) not in (1, None):
            part.n_jobs = 1

        # A search or a vote also holds the estimator that it copied, which is not fitted.
        is_fitted = getattr(part, "_Booster", None) is not None
        if is_booster and is_fitted and hasattr(part, "get_booster"):
            part.get_booster().set_param({"nthread": 1})
