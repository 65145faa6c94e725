"""XGBoost's boosters and scikit-learn wrappers, loaded and called without MLflow and pandas."""

import contextlib
import json
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.errors import ModelLoadError
from nightscore.models.answers import column_array, empty_answer
from nightscore.models.categories import CodedMatrix
from nightscore.models.flavor import Flavor
from nightscore.models.installed_libraries import import_library, library_versions
from nightscore.models.loading_steps import LoadingStep, bundled_code
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.models.signature import check_names, with_categories
from nightscore.schemas.model import Feature, ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm
    from nightscore.models.structure.xgboost_file import XgboostFile

XGBOOST_BOOSTER = "xgboost.core.Booster"
"""Class of a model whose MLmodel file names none."""
XGBOOST_WRAPPERS = tuple(
    f"xgboost.sklearn.XGB{name}"
    for name in ("Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")
)
LIBRARIES = ("xgboost", "numpy", "scipy", "numba")
_LINEAR_LOCK = threading.Lock()
"""XGBoost predicts with trees from several threads at once, but not with linear models."""
LABELLED = ("binary:logistic", "multi:softprob")
"""Objectives for which `predict_proba` decides what a wrapper's `predict` gives."""
SHOWN_COLUMNS = 40


class XgboostPredictor:
    """Calls the model's own methods with one matrix of float32, XGBoost's own type.

    Categories are the codes of training. As in XGBoost, any other value is refused.
    """

    def __init__(self, model: Any, facts: ModelFacts) -> None:
        """Take what `load_xgboost` gave."""
        self._model, self._facts = model, facts
        self._matrix = CodedMatrix(facts, np.float32, refuses_unknown=True)
        self._is_booster = not hasattr(model, "get_booster")

        kind = json.loads(_booster_of(model).save_config())["learner"]["gradient_booster"]["name"]
        self._is_gbtree, self._is_linear = kind == "gbtree", kind == "gblinear"

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`. As in MLflow, a booster's prediction is the objective of its margin."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)

        x = self._matrix.build(features)
        predict = self._predict_booster if self._is_booster else self._predict_wrapper
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _LINEAR_LOCK if self._is_linear else contextlib.nullcontext():
                return predict(x, kinds)

    def _predict_booster(self, x: npt.NDArray[np.float32], kinds: Collection[str]) -> Answer:
        if np.isinf(x).any():
            raise ValueError(
                "Input data contains `inf` or a value too large, "
                "while `missing` is not set to `inf`"
            )

        model = self._model
        answer: dict[str, npt.NDArray[Any]] = {}
        if self._is_gbtree:  # the same bits as with a DMatrix, without making one
            if "raw" in kinds:
                margin = model.inplace_predict(x, predict_type="margin", validate_features=False)
                answer["raw"] = column_array(margin)

            prediction = model.inplace_predict(x, validate_features=False)
            answer["prediction"] = column_array(prediction)
            return answer

        import xgboost

        matrix = xgboost.DMatrix(x, nthread=1)

        if "raw" in kinds:
            margin = model.predict(matrix, output_margin=True, validate_features=False)
            answer["raw"] = column_array(margin)

        answer["prediction"] = column_array(model.predict(matrix, validate_features=False))
        return answer

    def _predict_wrapper(self, x: npt.NDArray[np.float32], kinds: Collection[str]) -> Answer:
        model = self._model
        answer: dict[str, npt.NDArray[Any]] = {}
        if "raw" in kinds:
            margin = model.predict(x, output_margin=True, validate_features=False)
            answer["raw"] = column_array(margin)

        classes = self._facts.classes
        if classes is None:
            answer["prediction"] = column_array(model.predict(x, validate_features=False))
            return answer

        if "probability" in kinds:
            probability = column_array(model.predict_proba(x, validate_features=False))
            answer["probability"] = probability
            if model.objective in LABELLED:
                is_binary = len(classes) == 2
                labels = probability[:, 1] > 0.5 if is_binary else probability.argmax(axis=1)
                answer["prediction"] = labels.astype(np.int64).reshape(-1, 1)
                return answer

        labels = column_array(model.predict(x, validate_features=False))
        answer["prediction"] = labels.astype(np.int64)

        return answer


def load_xgboost(mlmodel: MlModel) -> Any:
    """The booster, or a wrapper for scikit-learn, of verified artifacts.

    Raises:
        ModelLoadError: It cannot be read, or XGBoost is not installed.
        ModelStructureError: Its trees point outside, or in circles; XGBoost did not get them.
    """
    from nightscore.models.structure.xgboost_trees import check_xgboost

    xgboost = import_library("xgboost", "XGBoost", "xgboost", mlmodel.folder)
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
        # Only now does XGBoost look at most parameters.
        understood = bytes(booster.save_raw("ubj"))
    except Exception as error:
        raise ModelLoadError(
            "The model cannot be loaded.",
            str(path),
            expected="a model file of XGBoost",
            found=f"{type(error).__name__}: {str(error).split('Stack trace')[0].strip()[:500]}",
            next_step="log it again with the version of XGBoost that is installed here",
        ) from error

    # Check once more what XGBoost has understood, in case it reads a file differently.
    check_xgboost(understood, str(path))
    return model


def inspect_xgboost(mlmodel: MlModel, model: Any) -> ModelFacts:
    """What the model file and the signature say.

    Raises:
        ModelLoadError: They do not fit each other.
    """
    from nightscore.models.structure.xgboost_file import read_xgboost

    file = read_xgboost(bytes(_booster_of(model).save_raw("json")))
    features, categories = _features(mlmodel, file)

    # The labels 0 or 1 of several targets are no classes.
    has_classes = hasattr(model, "classes_")
    is_classifier = has_classes and int(file.parameters.get("num_target", "1")) == 1
    classes = tuple(np.asarray(model.classes_).tolist()) if is_classifier else None
    n_outputs = 1 if classes or file.objective == "multi:softmax" else file.n_groups

    output_type = "float"
    methods: tuple[str, ...] = ("predict", "raw")

    if classes:
        output_type, methods = "long", ("predict", "predict_proba", "raw")
    elif has_classes:
        output_type = "double"  # XGBoost's answer with the labels of several targets

    outputs = [("prediction", output_type)] * n_outputs
    outputs += [("probability", "float"), ("raw", "float")]

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


def _booster_of(model: Any) -> Any:
    """The booster within a wrapper, or the booster itself."""
    return model.get_booster() if hasattr(model, "get_booster") else model


def _features(
    mlmodel: MlModel, file: "XgboostFile"
) -> tuple[tuple[Feature, ...], dict[str, tuple[Any, ...]]]:
    """The model's features, and the categories of training by feature name."""
    names, inputs = file.feature_names, mlmodel.inputs
    check_names(mlmodel, [feature.name for feature in inputs], names, file.n_features)

    try:
        known = file.categories
    except ValueError as error:
        raise ModelLoadError(
            "The model's categories cannot be read.",
            str(mlmodel.folder),
            found=str(error),
            next_step="train it again with categories that XGBoost stores whole",
        ) from error

    features = inputs or tuple(Feature(name=name, type="double") for name in names)
    _check_strings(mlmodel, features, known)

    return with_categories(mlmodel, features, known)


def _check_strings(
    mlmodel: MlModel, features: tuple[Feature, ...], known: Mapping[int, tuple[Any, ...]]
) -> None:
    """Refuse columns of strings whose categories the file does not hold."""
    lost = [
        feature.name
        for i, feature in enumerate(features)
        if feature.type == "string" and i not in known
    ]
    if not lost:
        return

    raise ModelLoadError(
        "The model does not say which categories it was trained with.",
        str(mlmodel.folder),
        expected="a model file that holds them (XGBoost 3.1 or later, trained on a data frame)",
        found=f"columns of strings without categories: {', '.join(lost[:SHOWN_COLUMNS])}",
        next_step="train and log it again with XGBoost 3.1 or later",
    )


def claims_xgboost(mlmodel: MlModel) -> bool:
    """Whether the model is a file of data, of a class that has a predictor here."""
    if not mlmodel.is_loaded_by("xgboost"):
        return False
    name = mlmodel.flavors["xgboost"].get("model_class", XGBOOST_BOOSTER)
    return name in (XGBOOST_BOOSTER, *XGBOOST_WRAPPERS)


def xgboost_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading would run: the file is JSON or UBJSON, and read as data."""
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
    libraries=("xgboost",),
    releases_gil=lambda facts: True,
)
