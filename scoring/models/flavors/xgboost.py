"""XGBoost's boosters and its wrappers for scikit-learn, loaded and called without MLflow and pandas."""

import contextlib
import json
import threading
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.errors import ModelLoadError
from nightscore.models.answers import column_array, empty_answer
from nightscore.models.categories import CodedMatrix
from nightscore.models.flavor import Flavor
from nightscore.models.loading_steps import LoadingStep, bundled_code
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.models.signature import check_names, with_categories
from nightscore.models.structure.xgboost_file import XgboostFile, read_xgboost
from nightscore.models.structure.xgboost_trees import check_xgboost
from nightscore.models.versions import library_versions, missing_library
from nightscore.schemas.model import Feature, ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm

XGBOOST_BOOSTER = "xgboost.core.Booster"
"""Class of a model whose MLmodel file names none."""
XGBOOST_WRAPPERS = tuple(
    f"xgboost.sklearn.XGB{name}"
    for name in ("Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")
)
LIBRARIES = ("xgboost", "numpy", "scipy", "numba")
_LINEAR_LOCK = threading.Lock()
"""XGBoost predicts with trees from several threads at once, with linear models it does not."""
LABELLED = ("binary:logistic", "multi:softprob")
"""Objectives of which a wrapper's `predict` is decided by its `predict_proba`."""


class XgboostPredictor:
    """Calls the model's own methods with one matrix of float32, which is what XGBoost computes with.

    Categories are the codes of training; as in XGBoost, a value that is none of them is refused.
    """

    def __init__(self, model: Any, facts: ModelFacts) -> None:
        self._model, self._facts = model, facts
        self._matrix = CodedMatrix(facts, np.float32, refuses_unknown=True)
        self._is_booster = not hasattr(model, "get_booster")
        booster = model if self._is_booster else model.get_booster()
        kind = json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]
        self._is_gbtree, self._is_linear = kind == "gbtree", kind == "gblinear"

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`. A booster's prediction is what its objective makes of the margin, as in MLflow."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)
        x = self._matrix.build(features)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _LINEAR_LOCK if self._is_linear else contextlib.nullcontext():
                return self._booster(x, kinds) if self._is_booster else self._wrapper(x, kinds)

    def _booster(self, x: npt.NDArray[np.float32], kinds: Collection[str]) -> Answer:
        if np.isinf(x).any():
            raise ValueError(
                "Input data contains `inf` or a value too large, while `missing` is not set to `inf`"
            )
        answer: dict[str, npt.NDArray[Any]] = {}
        if self._is_gbtree:  # the same bits as of a DMatrix, without making one
            if "raw" in kinds:
                answer["raw"] = column_array(
                    self._model.inplace_predict(x, predict_type="margin", validate_features=False)
                )
            answer["prediction"] = column_array(
                self._model.inplace_predict(x, validate_features=False)
            )
            return answer
        import xgboost

        matrix = xgboost.DMatrix(x, nthread=1)
        if "raw" in kinds:
            answer["raw"] = column_array(
                self._model.predict(matrix, output_margin=True, validate_features=False)
            )
        answer["prediction"] = column_array(self._model.predict(matrix, validate_features=False))
        return answer

    def _wrapper(self, x: npt.NDArray[np.float32], kinds: Collection[str]) -> Answer:
        model = self._model
        answer: dict[str, npt.NDArray[Any]] = {}
        if "raw" in kinds:
            answer["raw"] = column_array(
                model.predict(x, output_margin=True, validate_features=False)
            )
        classes = self._facts.classes
        if classes is None:
            answer["prediction"] = column_array(model.predict(x, validate_features=False))
            return answer
        if "probability" not in kinds or model.objective not in LABELLED:
            answer["prediction"] = column_array(model.predict(x, validate_features=False)).astype(
                np.int64
            )
        if "probability" in kinds:
            probability = column_array(model.predict_proba(x, validate_features=False))
            answer["probability"] = probability
            if "prediction" not in answer:
                found = probability[:, 1] > 0.5 if len(classes) == 2 else probability.argmax(axis=1)
                answer["prediction"] = found.astype(np.int64).reshape(-1, 1)
        return answer


def load_xgboost(mlmodel: MlModel) -> Any:
    """The Booster, or a wrapper for scikit-learn, of an artifact tree that was verified.

    Raises:
        ModelLoadError: It cannot be read, or XGBoost is not installed.
        ModelStructureError: Its trees point outside, or in circles; XGBoost was not given them.
    """
    xgboost = _library(mlmodel.folder)
    flavor = mlmodel.flavors["xgboost"]
    path = mlmodel.file(str(flavor.get("data")))
    name = str(flavor.get("model_class", XGBOOST_BOOSTER))
    check_xgboost(path.read_bytes(), str(path))
    try:
        if name == XGBOOST_BOOSTER:
            booster = model = xgboost.Booster(model_file=str(path))
        else:
            model = getattr(xgboost.sklearn, name.rpartition(".")[2])()
            model.load_model(str(path))
            model.n_jobs = 1
            booster = model.get_booster()
        booster.set_param({"nthread": 1, "verbosity": 0})
        understood = bytes(booster.save_raw("ubj"))  # only now does XGBoost look at most parameters
    except Exception as error:
        raise ModelLoadError(
            "The model cannot be loaded.",
            str(path),
            expected="a model file of XGBoost",
            found=f"{type(error).__name__}: {str(error).split('Stack trace')[0].strip()[:500]}",
            next_step="log it again with the version of XGBoost that is installed here",
        ) from error
    # Once more as XGBoost has understood it, in case it reads a file otherwise.
    check_xgboost(understood, str(path))
    return model


def inspect_xgboost(mlmodel: MlModel, model: Any) -> ModelFacts:
    """What the model file and the signature say.

    Raises:
        ModelLoadError: It does not fit its signature.
    """
    is_booster = not hasattr(model, "get_booster")
    booster = model if is_booster else model.get_booster()
    file = read_xgboost(bytes(booster.save_raw("json")))
    # What a wrapper makes of the labels 0 or 1 of several targets is no class.
    is_classifier = hasattr(model, "classes_") and int(file.parameters.get("num_target", "1")) == 1
    classes = tuple(np.asarray(model.classes_).tolist()) if is_classifier else None
    features, categories = _features(mlmodel, file)
    n_outputs = 1 if classes or file.objective == "multi:softmax" else file.n_groups
    kind = "long" if classes else "float"
    if hasattr(model, "classes_") and not classes:
        kind = "double"  # as XGBoost answers with the labels of several targets
    methods = ("predict", "predict_proba", "raw") if classes else ("predict", "raw")
    outputs = [("prediction", kind)] * n_outputs
    outputs += [(other, "float") for other in ("probability", "raw")]
    return ModelFacts(
        flavor="xgboost",
        estimator=type(model).__name__,
        features=features,
        n_features=file.n_features,
        is_named=bool(features),
        classes=classes,
        categories=categories,
        outputs=tuple(outputs),
        methods=methods,
        n_outputs=n_outputs,
        trained_with=mlmodel.trained_with,
        loaded_with=library_versions(*LIBRARIES),
    )


def _library(folder: Path) -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise missing_library("XGBoost", "xgboost", folder) from error
    return xgboost


def _features(
    mlmodel: MlModel, file: XgboostFile
) -> tuple[tuple[Feature, ...], dict[str, tuple[Any, ...]]]:
    names, inputs = file.feature_names, mlmodel.inputs
    check_names(mlmodel, [feature.name for feature in inputs], names, file.n_features)
    try:
        known = file.categories
    except ValueError as error:
        raise ModelLoadError(
            "The model's categories cannot be read.",
            str(mlmodel.folder),
            found=str(error),
            next_step="train it again with categories that XGBoost keeps whole",
        ) from error
    shown = inputs or tuple(Feature(name=name, type="double") for name in names)
    lost = [
        feature.name
        for i, feature in enumerate(shown)
        if feature.type == "string" and i not in known
    ]
    if lost:
        raise ModelLoadError(
            "The model does not say which categories it was trained with.",
            str(mlmodel.folder),
            expected="a model file that holds them (XGBoost 3.1 or later, trained on a data frame)",
            found=f"columns of strings without categories: {', '.join(lost[:40])}",
            next_step="train and log it again with XGBoost 3.1 or later",
        )
    return with_categories(mlmodel, shown, known)


def claims_xgboost(mlmodel: MlModel) -> bool:
    """Whether the model is a file of data, of a class that has a predictor here."""
    if not mlmodel.is_loaded_by("xgboost"):
        return False
    name = mlmodel.flavors["xgboost"].get("model_class", XGBOOST_BOOSTER)
    return name in (XGBOOST_BOOSTER, *XGBOOST_WRAPPERS)


def xgboost_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading an XGBoost model would run: it is JSON or UBJSON, and read as data."""
    flavor = mlmodel.flavors["xgboost"]
    yield from bundled_code(mlmodel, flavor)
    yield LoadingStep("data", f"reads {flavor.get('data')} with xgboost")


def compile_xgboost(model: Any, facts: ModelFacts) -> "CompiledForm":
    """The compiled form of a loaded model; see `Flavor.compile`."""
    from nightscore.models.compiled.boosters import xgboost_form

    return xgboost_form(model, facts)


FLAVOR = Flavor(
    name="xgboost",
    claims=claims_xgboost,
    loading_steps=xgboost_steps,
    load=load_xgboost,
    inspect=inspect_xgboost,
    predictor=XgboostPredictor,
    compile=compile_xgboost,
    releases_gil=lambda facts: True,
)
