"""scikit-learn estimators and pipelines, loaded and called without MLflow."""

import importlib.metadata
import warnings
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nightscore.models.answers import check_order, column_array, empty_answer
from nightscore.models.features import FeatureBuilder
from nightscore.models.flavor import Flavor
from nightscore.models.loading_steps import LoadingStep, bundled_code, pickle_step
from nightscore.models.mlmodel import MlModel
from nightscore.models.protocol import Answer
from nightscore.models.signature import label_type
from nightscore.models.structure.sklearn_pipelines import split_pipeline, walk_estimators
from nightscore.schemas.model import Feature, ModelFacts

if TYPE_CHECKING:
    from nightscore.models.compiled.flat import CompiledForm

LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "skops", "numba")
TIE_MARGIN = 1e-9
"""Two probabilities closer than this may be ordered otherwise than the raw scores that the library compares."""

ARGMAX_ESTIMATORS = (
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "HistGradientBoostingClassifier",
    "GradientBoostingClassifier",
)
"""Their `predict` is the class of the greatest probability (or raw score, of which that is monotone), so that one
pass through the trees gives both."""

GIL_FREE_ESTIMATORS = (
    "RandomForestClassifier",
    "RandomForestRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
)
"""They predict without holding Python's lock."""

MATRIX_MODULES = (
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting",
    "sklearn.tree._classes",
    "sklearn.linear_model._",
)
"""Estimators that turn a frame into one floating matrix before anything else."""


class SklearnPredictor:
    """Calls the estimator's own methods."""

    def __init__(self, estimator: Any, facts: ModelFacts) -> None:
        self._facts, self._builder = facts, FeatureBuilder(facts)
        self._steps, self._final = split_pipeline(estimator)
        self._classes = None if facts.n_outputs > 1 else getattr(self._final, "classes_", None)

    def predict(self, features: pa.Table, kinds: Collection[str]) -> Answer:
        """See `Predictor`. A pipeline transforms once, whatever is asked of its last step."""
        if not features.num_rows:
            return empty_answer(self._facts, kinds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = self._builder.build(features)
            for step in self._steps:
                x = step.transform(x)
            answer: dict[str, npt.NDArray[Any]] = {}
            if "probability" in kinds:
                answer["probability"] = column_array(self._final.predict_proba(x))
            if "decision" in kinds:
                answer["decision"] = column_array(self._final.decision_function(x))
            if "raw" in kinds:
                answer["raw"] = column_array(_raw(self._final, x))
            answer["prediction"] = column_array(self._predicted(x, answer.get("probability")))
            return answer

    def _predicted(self, x: Any, probability: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        exact = type(self._final).__name__ in ARGMAX_ESTIMATORS and type(
            self._final
        ).__module__.startswith("sklearn.")
        if probability is None or self._classes is None or not exact or probability.shape[1] < 2:
            found = self._final.predict(x)
            check_order(found)
            return np.asarray(found.toarray() if hasattr(found, "toarray") else found)
        found = self._classes.take(probability.argmax(axis=1), axis=0)
        top = np.partition(probability, -2, axis=1)[:, -2:]
        tied = np.flatnonzero(top[:, 1] - top[:, 0] < TIE_MARGIN)
        if len(tied):
            found[tied] = self._final.predict(x.iloc[tied] if hasattr(x, "iloc") else x[tied])
        return np.asarray(found)


def load_estimator(mlmodel: MlModel) -> Any:
    """The estimator of an artifact tree that was verified.

    Raises:
        ModelLoadError: It cannot be read.
        ModelStructureError: What its machine code would follow points outside, or in circles.
        ModelRefusedError: A skops file holds types that are not on the list.
    """
    from nightscore.models.pickles import load_pickled

    return load_pickled(mlmodel, "sklearn", "pickled_model")


def inspect_estimator(mlmodel: MlModel, estimator: Any) -> ModelFacts:
    """What a loaded estimator shows."""
    from nightscore.models.category_columns import category_columns

    steps, final = split_pipeline(estimator)
    names = _names(estimator, steps)
    by_output = getattr(final, "classes_", None)
    if isinstance(by_output, list):  # a classifier of several targets
        kinds = tuple(label_type(list(labels)) for labels in by_output)
        if type(_best(final)).__name__ == "ClassifierChain":
            kinds = ("double",) * len(by_output)  # it writes the labels into a matrix of floats
        classes = None
    elif by_output is not None and _is_multilabel(final):
        kinds = ("long",) * len(by_output)
        classes = None
    else:
        classes = _classes(final)
        kinds = (_prediction_type(mlmodel, final, classes),) * _n_outputs(mlmodel, final, classes)
    n_outputs = len(kinds)
    features = _features(mlmodel, names)
    by_column, refuses_unknown = category_columns(estimator, features)
    return ModelFacts(
        flavor="sklearn",
        estimator=type(final).__name__ if not steps else f"Pipeline({type(final).__name__})",
        features=features,
        n_features=getattr(estimator, "n_features_in_", None) or mlmodel.tensor_width,
        # Where the first step is a transformer of one's own, only the signature knows that it was a frame.
        is_named=names is not None or bool(mlmodel.inputs),
        takes_matrix=not steps and takes_matrix(final),
        matrix_dtype="float32" if mlmodel.tensor_dtype == "float32" else "float64",
        classes=classes,
        categories=_categories(estimator) | by_column,
        category_columns=tuple(by_column),
        refuses_unknown=refuses_unknown,
        outputs=tuple(("prediction", kind) for kind in kinds),
        methods=_methods(final),
        predict_function=_predict_function(mlmodel),
        n_outputs=n_outputs,
        trained_with=mlmodel.trained_with,
        loaded_with={name: importlib.metadata.version(name) for name in LIBRARIES},
    )


def _predict_function(mlmodel: MlModel) -> str:
    return str(mlmodel.flavors.get("python_function", {}).get("predict_fn") or "predict")


def _categories(estimator: Any) -> dict[str, tuple[Any, ...]]:
    """The values that encoders of named columns were fitted on, missing ones left out."""
    found: dict[str, tuple[Any, ...]] = {}
    for part in walk_estimators(estimator):
        for _, transformer, columns in getattr(part, "transformers_", ()):
            names = _column_names(part, columns)
            steps = (
                [step for _, step in transformer.steps]
                if hasattr(transformer, "steps")
                else [transformer]
            )
            for step in steps:  # an imputer before the encoder keeps the columns
                _add_categories(found, names, getattr(step, "categories_", None))
        _add_categories(
            found, getattr(part, "feature_names_in_", None), getattr(part, "categories_", None)
        )
    return found


def _add_categories(found: dict[str, tuple[Any, ...]], names: Any, categories: Any) -> None:
    if names is None or not isinstance(categories, list) or len(names) != len(categories):
        return
    for name, values in zip(names, categories, strict=True):
        kept = [value for value in values.tolist() if value is not None and value == value]
        found[str(name)] = tuple(kept)


def _column_names(transformer: Any, columns: Any) -> list[str] | None:
    """Names of a column transformer's selection, which may be names, positions, a slice or a mask."""
    names = getattr(transformer, "feature_names_in_", None)
    if isinstance(columns, list | tuple | np.ndarray) and all(
        isinstance(column, str) for column in columns
    ):
        return [str(column) for column in columns]
    if isinstance(columns, str):
        return [columns]
    return (
        None if names is None else [str(name) for name in np.atleast_1d(np.asarray(names)[columns])]
    )


def _names(estimator: Any, steps: list[Any]) -> list[str] | None:
    for candidate in (estimator, *steps[:1]):
        found = getattr(candidate, "feature_names_in_", None)
        if found is not None:
            return [str(name) for name in found]
    return None


def _features(mlmodel: MlModel, names: list[str] | None) -> tuple[Feature, ...]:
    if names is None:
        return mlmodel.inputs
    stated = mlmodel.inputs
    if len(mlmodel.positional) == len(names):
        stated = tuple(
            Feature(name=name, type=t) for name, t in zip(names, mlmodel.positional, strict=True)
        )
    by_name = {feature.name: feature for feature in stated}
    return tuple(by_name.get(name, Feature(name=name)) for name in names)


def _classes(final: Any) -> tuple[Any, ...] | None:
    found = getattr(final, "classes_", None)
    if found is None or not isinstance(found, np.ndarray):
        return None
    return tuple(found.tolist())


def _best(final: Any) -> Any:
    """The estimator that a search has chosen, or the last step of a pipeline within."""
    while True:
        inner = getattr(final, "best_estimator_", None)
        if inner is None:
            return final
        final = split_pipeline(inner)[1]


def _is_multilabel(final: Any) -> bool:
    """Its classes are labels of which a row may have several: it answers with a column of 0 and 1 for each."""
    final = _best(final)
    binarizer = getattr(final, "_label_binarizer", None)
    is_indicator = str(getattr(binarizer, "y_type_", "")).startswith("multilabel")
    return is_indicator or bool(getattr(final, "multilabel_", False))


def _is_regressor(final: Any) -> bool:
    from sklearn.base import is_regressor

    return bool(is_regressor(final))


def _coefficient_rows(final: Any) -> int | None:
    coefficients = getattr(final, "coef_", None)
    if (
        isinstance(coefficients, np.ndarray)
        and coefficients.ndim == 2
        and coefficients.shape[0] > 1
    ):
        return int(coefficients.shape[0])
    return None


def _prediction_type(mlmodel: MlModel, final: Any, classes: tuple[Any, ...] | None) -> str:
    """MLflow's name of the type of `predict`'s answer."""
    if classes:
        return label_type(classes)
    if _is_regressor(final):
        return "double"
    if getattr(final, "labels_", None) is not None or hasattr(final, "offset_"):
        return "long"  # clusterers give labels, outlier detectors 1 and -1
    stated = mlmodel.output_types[0] if mlmodel.output_types else "any"
    return "double" if stated == "any" else stated


def _n_outputs(mlmodel: MlModel, final: Any, classes: tuple[Any, ...] | None) -> int:
    """Columns of the prediction. `n_outputs_` of a network classifier counts its classes instead."""
    if classes:
        return 1
    stated = int(getattr(final, "n_outputs_", 0) or 0)
    if type(_best(final)).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        stated = len(_best(final).estimators_)
    return max(stated, _coefficient_rows(final) or 0, len(mlmodel.output_types), 1)


def _methods(final: Any) -> tuple[str, ...]:
    found = [
        name for name in ("predict", "predict_proba", "decision_function") if hasattr(final, name)
    ]
    if hasattr(final, "decision_function") or hasattr(final, "_raw_predict"):
        found.append("raw")
    return tuple(found)


def takes_matrix(final: Any) -> bool:
    module = type(final).__module__
    return module.startswith(MATRIX_MODULES) and getattr(final, "_preprocessor", None) is None


def _raw(final: Any, x: Any) -> Any:
    """The score before the link: of gradient boosting with a link, scikit-learn keeps the method private."""
    if hasattr(final, "decision_function"):
        return final.decision_function(x)
    if type(final).__name__ == "GradientBoostingRegressor":
        return final.predict(x)  # its link is the identity, and `_raw_predict` checks nothing
    return final._raw_predict(x)


def sklearn_steps(mlmodel: MlModel) -> Iterator[LoadingStep]:
    """Everything that loading a scikit-learn model would run."""
    flavor = mlmodel.flavors["sklearn"]
    name = str(flavor.get("pickled_model", "model.pkl"))

    yield from bundled_code(mlmodel, flavor)
    if flavor.get("serialization_format") == "skops":
        yield LoadingStep(
            "types", f"reads {name}, objects of types of scikit-learn, numpy and scipy only"
        )
    else:
        yield pickle_step(mlmodel, name)


def unlisted_sklearn_types(mlmodel: MlModel) -> list[str]:
    """See `Flavor.unlisted_types`."""
    from nightscore.models.structure.skops_types import unlisted_skops_types

    flavor = mlmodel.flavors["sklearn"]
    if flavor.get("serialization_format") != "skops":
        return []
    return unlisted_skops_types(mlmodel.file(str(flavor.get("pickled_model"))))


def compile_estimator(estimator: Any, facts: ModelFacts) -> "CompiledForm":
    """The compiled form of a fitted estimator or pipeline; see `Flavor.compile`."""
    from nightscore.models.compiled.pipelines import sklearn_form

    return sklearn_form(estimator, facts)


FLAVOR = Flavor(
    name="sklearn",
    claims=lambda mlmodel: True,
    precedence=1,  # its own loader is faster than that of any flavor beside it
    loading_steps=sklearn_steps,
    load=load_estimator,
    inspect=inspect_estimator,
    predictor=SklearnPredictor,
    compile=compile_estimator,
    unlisted_types=unlisted_sklearn_types,
    pads_batches=True,
    releases_gil=lambda facts: facts.estimator in GIL_FREE_ESTIMATORS,
    takes_frames=True,
)
